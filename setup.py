"""Put cards, shipped weights and constraints, which lie beside the package, inside the wheel."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
CARDS = {
    "backbones": ("*.toml", "*/model.safetensors", "*/*.toml", "*/README.md"),
    "tasks": ("*.toml",),
    "leaderboards": ("*.toml",),
}


class BuildWithCards(build_py):
    """Copy cards to `cytobench/_cards`; rendered leaderboards stay behind."""

    def run(self) -> None:
        """Build as usual, then add the cards."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "cytobench" / "_cards"
        shutil.rmtree(target, ignore_errors=True)
        for folder, patterns in CARDS.items():
            for source in sorted({path for pattern in patterns for path in (ROOT / folder).glob(pattern)}):
                copy = target / source.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)
        shutil.copyfile(ROOT / "constraints.txt", target / "constraints.txt")  # `cytobench doctor` compares


setup(cmdclass={"build_py": BuildWithCards})
