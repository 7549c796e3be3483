"""Data sets of plugins: a reader of one's own, and where its data lie.

A task card names a reader as `dataset = "package.module:function"`; the function is called with the folder of
the data and the card's options and returns a manifest. Its module may declare

* `DATASET`, a `DatasetInfo`: the data set's name, licence, and the folder names looked for below each data
  folder. Without it the folder has the name of the task. If it says `generated = True`, the module has a
  function `generate(root, *, reporter)` that writes the data into the empty folder `root`; it is called once
  and its folder put in place when it is whole. Change the folder's name when it writes something else;
* `DATA`, a path: a folder that travels inside the package, read when no data folder holds the set.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytobench.datasets.info import DatasetInfo
from cytobench.errors import CardError, DataError
from cytobench.progress import Reporter

if TYPE_CHECKING:
    from cytobench.cards import TaskCard


@dataclass(frozen=True)
class PluginData:
    """What a reader's module says of its data: `inside`: a folder in the package, `generate`: writes them."""

    folders: tuple[str, ...]
    info: DatasetInfo | None = None
    inside: Path | None = None
    generate: Callable[..., Any] | None = None

    def find(self, data_dirs: Sequence[Path]) -> Path | None:
        """Return the folder of the data, below a data folder or inside the package; None if absent."""
        from cytobench.datasets import find_folder

        found = find_folder(self.folders, data_dirs)
        inside = self.inside if self.inside is not None and self.inside.is_dir() else None
        return found or inside

    def generated(self, home: Path, reporter: Reporter) -> Path:
        """Return the folder of the data that the plugin writes itself, written whole or not at all.

        Raises DataError when that fails.
        """
        root = home / "datasets" / self.folders[0]
        if root.is_dir() or self.generate is None:
            return root
        partial = root.with_name(f".{root.name}-{secrets.token_hex(4)}")
        try:
            partial.mkdir(parents=True)
            self.generate(partial, reporter=reporter)
            partial.rename(root)
        except Exception as error:  # whatever foreign code raises, the user must learn whose it is
            if root.is_dir():  # another process was faster
                return root
            raise DataError(
                f"The data set '{self.folders[0]}' could not be made ({type(error).__name__}: {error}): "
                "correct the plugin."
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return root


def plugin_data(card: TaskCard) -> PluginData:
    """Import the module of a card's reader and return what it declares.

    Raises CardError when it cannot be imported or declares what cannot be used.
    """
    from cytobench.registry import import_beside

    reference = str(card.dataset)
    name = reference.partition(":")[0]
    try:
        module = import_beside(name, card.source)
    except Exception as error:  # whatever foreign code raises, the user must learn whose it is
        raise CardError(
            f"The reader '{reference}' cannot be imported ({error}): check the card's dataset key."
        ) from error
    info, inside = getattr(module, "DATASET", None), getattr(module, "DATA", None)
    generate = getattr(module, "generate", None)
    if info is not None and not isinstance(info, DatasetInfo):
        raise CardError(f"DATASET in {name} must be a cytobench.datasets.DatasetInfo: correct the plugin.")
    if info is not None and info.generated and not callable(generate):
        raise CardError(f"DATASET in {name} says generated, and there is no function generate: add it.")
    return PluginData(
        folders=info.folders if info else (card.name,),
        info=info,
        inside=None if inside is None else Path(str(inside)),
        generate=generate if info is not None and info.generated else None,
    )
