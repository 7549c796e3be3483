"""Where fetched weights lie: a folder for each source, with one file and a note of its origin."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cytobench.errors import WeightsError, WrongWeightsError
from cytobench.progress import Reporter
from cytobench.transfer.errand import Words, human_size, writing

NOTE = "source.json"
REJECTED = ".rejected"
WORDS = Words(
    things="weights",
    address="correct `weights` in the card",
    digest="ask the publisher or correct sha256 in the card",
    unknown_length="give its sha256 in the card",
    elsewhere="--home",
)
SETTINGS = Words(
    things="published settings",
    address="correct `arch` in the card",
    digest="ask the publisher",
    unknown_length="put the file there by hand",
    elsewhere="--home",
)
"""For a file that describes an architecture; it lies beside weights and is looked after like them."""


@dataclass(frozen=True)
class Provenance:
    """What is known about a source since its first use: it stays on this revision, file and digest."""

    uri: str
    revision: str = ""
    file: str = ""
    sha256: str = ""
    size: int | None = None
    remote_file: str = ""
    """The file's path in a repository, where that differs from what is asked for."""


@dataclass(frozen=True)
class Deposit:
    """The folder of one source under `<home>/weights`."""

    uri: str
    folder: Path

    @classmethod
    def of(cls, uri: str, home: Path) -> Deposit:
        """Return the folder for a source: readable, and unique by a digest of the whole URI."""
        readable = re.sub(r"[^A-Za-z0-9.]+", "-", uri.partition("?")[0]).strip("-.")[:80]
        mark = hashlib.sha256(uri.encode()).hexdigest()[:8]
        return cls(uri, home / "weights" / f"{readable}-{mark}")

    def provenance(self) -> Provenance:
        """Read the note, empty where the source was never used; raises WeightsError on a damaged note."""
        note = self.folder / NOTE
        try:
            content = json.loads(note.read_text(encoding="utf-8"))
            return Provenance(**content)
        except (FileNotFoundError, NotADirectoryError):
            return Provenance(self.uri)
        except (ValueError, TypeError) as error:
            raise WrongWeightsError(
                f"the note {note} about {self.uri} is damaged ({error}); delete it to trust its file anew."
            ) from error
        except OSError as error:
            raise WeightsError(
                f"cannot read {note} ({error.strerror}); check the rights of the folder."
            ) from error

    def write(self, provenance: Provenance) -> None:
        """Write the note atomically; raises WeightsError where the folder cannot be written."""
        temporary = self.folder / f".{NOTE}.{secrets.token_hex(4)}"
        with writing(self.folder, WORDS):
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(asdict(provenance), file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.folder / NOTE)

    def held(self) -> Path | None:
        """Return the file of weights in the folder, also one put there by hand; None where there is none.

        Raises WeightsError when several files could be meant.
        """
        noted = self.provenance().file
        if noted and (self.folder / noted).is_file():
            return self.folder / noted
        if not self.folder.is_dir():
            return None
        files = sorted(
            path for path in self.folder.iterdir() if path.is_file() and _may_be_weights(path.name)
        )
        if len(files) > 1:
            names = ", ".join(path.name for path in files)
            raise WeightsError(f"{self.folder} holds several files ({names}); leave only that of {self.uri}.")
        return files[0] if files else None

    def reject(self, path: Path) -> None:
        """Take a file with a wrong digest out of use, without deleting what may have been brought by hand."""
        with suppress(OSError):
            path.replace(path.with_name(path.name + REJECTED))


@dataclass(frozen=True)
class Order:
    """What is asked for: the source, the digest the card names (or none), and who to tell."""

    deposit: Deposit
    sha256: str
    gated: bool
    licence_url: str
    reporter: Reporter
    words: Words = WORDS
    """How messages speak of what is asked for."""
    customary: tuple[str, ...] = ()
    """File names to look for first where the source names none."""

    @property
    def uri(self) -> str:
        """The source as the card writes it."""
        return self.deposit.uri

    @property
    def folder(self) -> Path:
        """Where the bytes are collected."""
        return self.deposit.folder

    def announce(self, where: str, size: int | None) -> None:
        """Say what is about to be fetched from where, how much it is, and where its licence stands."""
        amount = "size unknown" if size is None else human_size(size)
        licence = f"; licence: {self.licence_url}" if self.licence_url else ""
        self.reporter.say(f"downloading {self.uri} ({amount}) from {where} to {self.deposit.folder}{licence}")

    def out_of_reach(self, host: str, reason: str, page: str) -> WeightsError:
        """Return the error for a server out of reach, with the way to bring the file by hand."""
        return WeightsError(
            f"cannot reach {host} for {self.uri} ({reason}); check the connection, or download the file "
            f"elsewhere from {page} and put it into {self.deposit.folder}/."
        )


def safe_name(name: str, default: str) -> str:
    """Return a file name a server proposed, without anything that could leave the folder or hide in it."""
    cleaned = re.sub(r"[^\w.+-]+", "_", name.replace("\\", "/").rpartition("/")[2]).lstrip(".")[:120]
    return cleaned if cleaned and _may_be_weights(cleaned) else default


def _may_be_weights(name: str) -> bool:
    return not name.startswith(".") and name != NOTE and not name.endswith(REJECTED)
