"""Python and the packages CytoBench needs: there, new enough, importable, and as last tested."""

from __future__ import annotations

import importlib
import platform
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence, Set
from importlib import metadata
from pathlib import Path

import cytobench
from cytobench.errors import counted
from cytobench.findings import Finding

DISTRIBUTION = "cytobench-harness"
_OLDEST = (3, 11)
_FOR_DEVELOPERS = ("dev",)
_IMPORTED = {
    "torchvision": "torchvision",
    "timm": "timm",
    "open_clip": "open-clip-torch",
    "polars": "polars",
    "sklearn": "scikit-learn",
    "optuna": "optuna",
    "skimage": "scikit-image",
    "safetensors": "safetensors",
    "PIL": "pillow",
}
"""Modules that are imported for a trial, and the packages that bring them."""
_NEED_TORCH = ("torchvision", "timm", "open_clip")
_FAISS = ("faiss-cpu", "faiss-gpu")
_NVIDIA = (Path("/dev/nvidia0"), Path("/proc/driver/nvidia/version"))


def nvidia_here() -> bool:
    """Say whether the system shows an NVIDIA GPU, whatever torch and faiss say."""
    return any(path.exists() for path in _NVIDIA)


def python() -> Finding:
    """Look at Python itself."""
    said = f"{platform.python_version()} ({platform.python_implementation()}) on {platform.platform()}"
    if sys.version_info[:2] < _OLDEST:
        return Finding("Python", "fail", f"{said}.", "Use Python 3.11 or newer.")
    if sys.maxsize < 2**32:
        return Finding("Python", "fail", f"{said}, 32-bit.", "Use a 64-bit Python: torch needs it.")
    return Finding("Python", "pass", f"{said}.")


def requirements() -> Finding:
    """Compare what is installed with what CytoBench asks for."""
    wanted = [line for line, extra in _required() if not extra]
    if not wanted:
        return Finding(
            "packages", "skip", "CytoBench is not installed as a package, so its needs are unknown."
        )
    lacking = [why for line in wanted if (why := _lack(line))]
    if lacking:
        return Finding(
            "packages",
            "fail",
            f"{len(lacking)} of {len(wanted)} needed packages are missing or too old.",
            f"pip install {' '.join(repr(_name_and_bound(line)) for line in wanted if _lack(line))}",
            tuple(lacking),
        )
    return Finding("packages", "pass", f"All {len(wanted)} that are needed are here and new enough.")


def tested_versions() -> Finding:
    """Compare installed versions with the constraints, which are those of the last test."""
    question, tested = "tested versions", _constraints()
    if not tested:
        return Finding(question, "skip", "There is no constraints.txt beside the cards.")
    direct = {_canonical(_name_of(line)) for line, _ in _required()}
    here = {name: found for name in tested if (found := _version(name)) is not None}
    return judge_versions(tested, here, direct)


def judge_versions(tested: Mapping[str, str], here: Mapping[str, str], direct: Set[str]) -> Finding:
    """Compare versions, by package; `direct`: what CytoBench itself asks for, the only ones that are named.

    A local part such as `+cu128` does not count.
    """
    question = "tested versions"
    others = tuple(
        f"{name} {found} (tested with {tested[name]})"
        for name, found in here.items()
        if name in direct and found.partition("+")[0] != tested[name].partition("+")[0]
    )
    if others:
        return Finding(
            question,
            "warn",
            f"{counted(len(others), 'package has', 'packages have')} another version than CytoBench was "
            "tested with.",
            "Only if something fails: pip install -c constraints.txt . (the file is beside the cards).",
            others,
        )
    return Finding(question, "pass", f"As in constraints.txt, as far as installed ({len(here)} packages).")


def imports(*, torch_works: bool) -> Finding:
    """Import what the stages of a run import; a package may be here and broken."""
    broken: list[str] = []
    for module, package in _IMPORTED.items():
        if module in _NEED_TORCH and not torch_works:
            continue
        why = import_problem(module)
        if why:
            broken.append(f"{package}: {why}")
    if broken:
        return Finding(
            "imports",
            "fail",
            f"{len(broken)} packages cannot be imported.",
            "Install them again; torchvision must fit torch (same release day).",
            tuple(broken),
        )
    without = "" if torch_works else " (those that need torch were left out)"
    versions = ", ".join(
        f"{p} {_version(_canonical(p)) or '?'}" for m, p in _IMPORTED.items() if m in _NEED_TORCH
    )
    return Finding("imports", "pass", f"{versions} and what they need can be imported{without}.")


def faiss() -> Finding:
    """Search with faiss, and compare with numpy's answer."""
    why = import_problem("faiss") or import_problem("numpy")
    if why:
        return Finding("faiss", "fail", f"It cannot be imported: {why}.", "pip install faiss-cpu")
    import numpy as np

    library = importlib.import_module("faiss")
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((200, 32)).astype(np.float32)
    try:
        index = library.IndexFlatIP(32)
        index.add(vectors)
        found = index.search(vectors[:20], 3)[1]
    except Exception as error:  # a build for another processor fails here, not at import
        return Finding("faiss", "fail", f"A search failed: {_first_line(error)}.", "pip install faiss-cpu")
    expected = np.argsort(-(vectors[:20] @ vectors.T), axis=1)[:, :3]
    if not np.array_equal(found, expected):
        return Finding("faiss", "fail", "A search gave wrong neighbours.", "pip install faiss-cpu")
    installed = tuple(name for name in _FAISS if _version(name))
    gpus = getattr(library, "get_num_gpus", int)()
    return judge_faiss(library.__version__, installed, gpus, nvidia=nvidia_here())


def judge_faiss(version: str, installed: Sequence[str], gpus: int, *, nvidia: bool) -> Finding:
    """Judge a faiss that searches rightly.

    `installed`: which of its packages are here; `gpus`: how many it sees; `nvidia`: the machine has one.
    """
    where = f"{counted(gpus, 'GPU')} seen" if gpus else "on the processor"
    said = f"{version}: a search of 20 among 200 is right; {where}"
    if len(installed) > 1:
        names = " and ".join(installed)
        return Finding("faiss", "warn", f"{said}; {names} are both installed.", "Uninstall one of them.")
    if nvidia and not gpus:
        cure = (
            "Update the NVIDIA driver, or in a container hand the GPU in."
            if any("gpu" in name for name in installed)
            else "Only for collections of millions, on Linux x86-64: pip uninstall faiss-cpu, then pip "
            "install faiss-gpu."
        )
        said = f"{said}; this machine has an NVIDIA GPU that faiss cannot use"
        return Finding("faiss", "warn", f"{said}. Searches are right, and slower than they could be.", cure)
    return Finding("faiss", "pass", f"{said}.")


def extras() -> list[Finding]:
    """Say which optional parts are installed."""
    by_extra: dict[str, list[str]] = {}
    for line, extra in _required():
        if extra and extra not in _FOR_DEVELOPERS:
            by_extra.setdefault(extra, []).append(line)
    found = []
    for extra, lines in sorted(by_extra.items()):
        lacking = [why for line in lines if (why := _lack(line))]
        if lacking:
            cure = f'Where it is wanted: pip install ".[{extra}]"'
            found.append(Finding(f"extra {extra}", "skip", f"Not installed: {', '.join(lacking)}.", cure))
        else:
            names = ", ".join(f"{_name_of(line)} {_version(_canonical(_name_of(line)))}" for line in lines)
            found.append(Finding(f"extra {extra}", "pass", f"{names}."))
    return found


def import_problem(module: str) -> str:
    """Return why a module cannot be imported, "" where it can."""
    try:
        importlib.import_module(module)
    except Exception as error:  # broken binaries raise OSError, RuntimeError and more
        return _first_line(error)
    return ""


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0].rstrip('.')}"


def _required() -> list[tuple[str, str]]:
    """Return each requirement that holds on this machine, with its extra ("" for what is always needed)."""
    from packaging.requirements import Requirement

    try:
        lines: Iterable[str] = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        lines = _of_checkout()
    extras = sorted({part for line in lines for part in _extras_named(line)})
    found = []
    for line in lines:
        requirement = Requirement(line)
        if _canonical(requirement.name) == DISTRIBUTION:  # an extra that gathers others
            continue
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}):
            found.append((line, ""))
            continue
        found += [(line, extra) for extra in extras if marker.evaluate({"extra": extra})]
    return found


def _of_checkout() -> list[str]:
    """Read pyproject.toml beside the package, as an installer would write it down."""
    project = Path(cytobench.__file__).parent.parent / "pyproject.toml"
    try:
        raw = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    except (OSError, ValueError, KeyError):
        return []
    lines = list(raw.get("dependencies", []))
    for extra, some in raw.get("optional-dependencies", {}).items():
        lines += [f"{line}{' and' if ';' in line else ' ;'} extra == '{extra}'" for line in some]
    return lines


def _extras_named(line: str) -> list[str]:
    """Return the names in `extra == "…"` of a requirement's marker."""
    parts = line.partition(";")[2].replace("'", '"').split("extra == ")
    return [part.split('"')[1] for part in parts[1:] if part.count('"') >= 2]


def _lack(line: str) -> str:
    """Return what is wrong with an installed package, "" where nothing is."""
    from packaging.requirements import Requirement

    requirement = Requirement(line)
    found = _version(_canonical(requirement.name))
    if found is None:
        return f"{requirement.name} is missing"
    if not requirement.specifier.contains(found, prereleases=True):
        return f"{requirement.name} {found} is here, {requirement.specifier} is needed"
    return ""


def _name_and_bound(line: str) -> str:
    return line.partition(";")[0].strip()


def _name_of(line: str) -> str:
    from packaging.requirements import Requirement

    return Requirement(line).name


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _constraints() -> Mapping[str, str]:
    """Return the versions of constraints.txt, which travels with the cards, by canonical name."""
    package = Path(cytobench.__file__).parent
    for folder in (package / "_cards", package.parent):
        try:
            lines = (folder / "constraints.txt").read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        pairs = [line.partition("==") for line in lines if "==" in line and not line.startswith("#")]
        return {_canonical(name): version.strip() for name, _, version in pairs}
    return {}
