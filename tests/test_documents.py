"""Documents lead somewhere: every relative link in a Markdown file names a file of the project."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"""\]\(\s*<?([^)\s>]+)|(?:href|src)=["']([^"']+)["']""")


def _tracked() -> set[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: cannot tell which files belong to the project")
    return {ROOT / name for name in listed.stdout.decode().split("\0") if name}


def test_every_relative_link_in_a_document_names_a_file_of_the_project() -> None:
    tracked = _tracked()
    known = tracked | {folder for path in tracked for folder in path.parents}
    dead = []
    for document in sorted(path for path in tracked if path.suffix == ".md" and path.is_file()):
        for match in LINK.finditer(document.read_text(encoding="utf-8")):
            target = (match[1] or match[2]).partition("#")[0]
            if target and ":" not in target and (document.parent / target).resolve() not in known:
                dead.append(f"{document.relative_to(ROOT)}: {target}")
    assert not dead
