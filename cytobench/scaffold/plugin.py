"""An installable package with cells, a reader and a network of one's own, to begin with."""

from __future__ import annotations

import io
from pathlib import Path

from cytobench.scaffold.writing import Draft, fill, identifier, valid_name

_TEMPLATES = {
    "pyproject.toml": "plugin-pyproject.toml.jinja",
    "README.md": "plugin-readme.md.jinja",
    "{package}/__init__.py": "plugin-init.py.jinja",
    "{package}/reader.py": "plugin-reader.py.jinja",
    "{package}/network.py": "loader.py.jinja",
    "{package}/backbones/{name}-net.toml": "plugin-backbone.toml.jinja",
    "{package}/tasks/{name}-cells.toml": "plugin-task.toml.jinja",
    "{package}/leaderboards/{name}-board.toml": "plugin-board.toml.jinja",
    "tests/test_{package}.py": "plugin-test.py.jinja",
}
_KINDS, _PATIENTS, _CELLS = 2, 6, 2


def draft_plugin(name: str, out: Path) -> Draft:
    """Return the files of `<out>/<name>/`: a package, its test, and a few drawn cells to try it on."""
    package = identifier(valid_name(name, "plugin"))
    package = f"{package}_plugin" if package == "cytobench" else package
    root = out / name
    files: dict[Path, str | bytes] = {
        root / target.format(package=package, name=name): fill(template, name=name, package=package)
        for target, template in _TEMPLATES.items()
    }
    files |= _cells(root / "data" / f"{name}-cells")
    said = (
        f"the cells in {root / 'data'} are drawn: put yours there, and fit {package}/reader.py to them",
        f"pip install {root} makes its cards known",
    )
    return Draft(files, said)


def _cells(folder: Path) -> dict[Path, str | bytes]:
    """Draw cells of two kinds of some patients, and a table that names them."""
    from PIL import Image

    from cytobench.datasets.synthetic.plan import Picture, pictures, render

    first: dict[str, Picture] = {}
    for picture in pictures():
        first.setdefault(picture.kind, picture)
    files: dict[Path, str | bytes] = {}
    rows = ["file,patient,kind"]
    for kind, picture in list(first.items())[:_KINDS]:
        for number in range(_PATIENTS * _CELLS):
            drawn = render(Picture(picture.slide, number, kind), picture.slide.look)
            buffer = io.BytesIO()
            Image.fromarray(drawn).save(buffer, "PNG")
            file = f"images/{kind}-{number:02d}.png"
            files[folder / file] = buffer.getvalue()
            rows.append(f"{file},p{number % _PATIENTS},{kind}")
    files[folder / "cells.csv"] = "\n".join(rows) + "\n"
    return files
