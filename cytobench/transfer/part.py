"""The part of a file that has arrived so far, under a name nobody takes for the whole."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

_NAME, _ABOUT = ".part", ".part.json"


@dataclass
class Part:
    """Bytes received, and what the server said of the whole: kept beside them, so a kill loses neither."""

    folder: Path
    validator: str = ""
    """ETag or Last-Modified of the version these bytes belong to."""
    total: int | None = None
    name: str = ""
    """The file name the server proposed."""
    have: int = 0
    _owner: str = field(default_factory=lambda: secrets.token_hex(8))

    @classmethod
    def at(cls, folder: Path) -> Part:
        """Read what an earlier attempt left in `folder`, or an empty part."""
        part = cls(folder)
        try:
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            part.validator, part.total, part.name = (
                str(about["validator"]),
                about["total"],
                str(about["name"]),
            )
            part.have = part.path.stat().st_size
        except (OSError, ValueError, KeyError):
            return cls(folder)
        return part

    @property
    def path(self) -> Path:
        """Where the bytes are."""
        return self.folder / _NAME

    @property
    def complete(self) -> bool:
        """Whether every byte the server announced is here."""
        return self.total is not None and self.have == self.total and self.path.is_file()

    def restart(self, validator: str, total: int | None, name: str) -> None:
        """Drop the bytes and note what is about to come; raises OSError."""
        self.forget()
        self.validator, self.total, self.name = validator, total, name
        self.path.touch()
        self.claim()

    def claim(self) -> None:
        """Note that this object writes the bytes from now on; raises OSError."""
        about = {"validator": self.validator, "total": self.total, "name": self.name, "owner": self._owner}
        temporary = self.folder / f"{_ABOUT}.{self._owner}"
        temporary.write_text(json.dumps(about), encoding="utf-8")
        temporary.replace(self.folder / _ABOUT)

    def mine(self) -> bool:
        """Whether nobody else wrote meanwhile, as can happen on network shares that ignore locks."""
        try:
            about = json.loads((self.folder / _ABOUT).read_text(encoding="utf-8"))
            return bool(about["owner"] == self._owner) and self.path.stat().st_size == self.have
        except (OSError, ValueError, KeyError):
            return False

    def open(self) -> BinaryIO:
        """Open the bytes for writing behind the last one, unbuffered; raises OSError."""
        self.claim()
        file = self.path.open("r+b", buffering=0)
        file.seek(self.have)
        return file

    def forget(self) -> None:
        """Remove the bytes and the note about them."""
        (self.folder / _ABOUT).unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
        self.validator, self.total, self.name, self.have = "", None, "", 0
