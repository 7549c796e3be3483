"""What pretraining may not read: everything evaluation uses, by content and by group.

Files are compared by the SHA-256 of their bytes, so a copied folder is no way round. `examine` fills a guard.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cytobench.digests import FileDigests
from cytobench.errors import DataError, UsageError, counted, name_some
from cytobench.pretraining.sources import Listed
from cytobench.progress import Reporter

if TYPE_CHECKING:
    import polars as pl

ANY_GROUP = ("group", "patient", "slide")
"""Columns of a user's table that are compared with the groups of every task of the user's own."""


@dataclass(frozen=True)
class Checked:
    """What of a source is open, what is not, and what the open images are known to belong to.

    closed: how many images are not open, by reason; tasks: whose they are; datasets: known data sets that
    open images belong to, also under other names; by_group: whether there were groups to compare.
    """

    listed: Listed
    closed: Mapping[str, int]
    tasks: tuple[str, ...]
    datasets: tuple[str, ...]
    by_group: bool


@dataclass(frozen=True)
class Guard:
    """What is closed and what is open of the data sets that were examined.

    closed: SHA-256 of a file -> the tasks that evaluate it; opened: SHA-256 -> the data sets it belongs to;
    groups: column -> group -> the users' own tasks that evaluate it; never: folders no file of which is open
    -> the task that says so; examined: the tasks whose data were at hand, for the record.
    """

    closed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    opened: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    never: Mapping[Path, str] = field(default_factory=dict)
    examined: tuple[str, ...] = ()

    def refuse_folder(self, folder: Path) -> None:
        """Raise UsageError for a folder inside a data set that is closed altogether."""
        for root, task in self.never.items():
            if folder.resolve().is_relative_to(root):
                raise UsageError(
                    f"{folder} belongs to task '{task}', which is never for pretraining "
                    f'(pretrain = "never" in its card; its data lie in {root}): leave it out.'
                )

    def filter(
        self, listed: Listed, digests: FileDigests, reporter: Reporter, table: pl.DataFrame | None = None
    ) -> Checked:
        """Return what of a source is open.

        table: the source's manifest, whose group columns are compared too. Images that cannot be read count
        as open: the packer finds and lists them. Raises DataError when nothing is left.
        """
        checked = self._check(listed, digests, reporter, table)
        if listed.pieces and not checked.listed.pieces:
            raise DataError(
                f"Every image of '{listed.name}' belongs to evaluation (tasks {name_some(checked.tasks)}): "
                "pretraining may not read it; leave it out."
            )
        return checked

    def refuse_closed(
        self,
        listed: Listed,
        digests: FileDigests,
        reporter: Reporter,
        table: pl.DataFrame,
        *,
        besides: str = "",
    ) -> None:
        """Raise UsageError when labelled cells to watch a run by hold any that evaluation uses.

        besides: a task whose sealed share these are.
        """
        checked = self._check(listed, digests, reporter, table if not besides else None)
        if checked.closed:
            whose = f"sealed by the task '{besides}'" if besides else f"of the table '{listed.name}'"
            many = counted(sum(checked.closed.values()), f"image {whose} belongs", f"images {whose} belong")
            raise UsageError(
                f"{many} to evaluation (tasks "
                f"{name_some(checked.tasks)}), and a score on them would choose the weights: watch the run "
                "by other cells."
            )

    def _check(
        self, listed: Listed, digests: FileDigests, reporter: Reporter, table: pl.DataFrame | None
    ) -> Checked:
        compared = self.closed or self.opened
        files = dict.fromkeys(piece.image for piece in listed.pieces) if compared else {}
        found, _ = digests_of(files, digests, reporter)
        by_content = {path: self.closed[digest] for path, digest in found.items() if digest in self.closed}
        by_group, had_groups = self._grouped(table)
        new = by_group.keys() - by_content.keys()
        kept = tuple(piece for piece in listed.pieces if piece.image not in by_content | by_group)
        names = (self.opened.get(found.get(piece.image, ""), ()) for piece in kept)
        reasons = {"evaluation images": len(by_content), "images of evaluation groups": len(new)}
        return Checked(
            listed=Listed(listed.name, listed.dataset, kept),
            closed={reason: n for reason, n in reasons.items() if n},
            tasks=tuple(sorted({one for some in (by_content | by_group).values() for one in some})),
            datasets=tuple(sorted({name for some in names for name in some})),
            by_group=had_groups,
        )

    def _grouped(self, table: pl.DataFrame | None) -> tuple[dict[Path, tuple[str, ...]], bool]:
        """Return a table's images of closed groups with their tasks, and whether both sides had groups."""
        if table is None or not self.groups:
            return {}, False
        import polars as pl

        every = {name: tasks for groups in self.groups.values() for name, tasks in groups.items()}
        found: dict[Path, tuple[str, ...]] = {}
        had_groups = False
        for column in dict.fromkeys([*ANY_GROUP, *self.groups]):
            if column not in table.columns or table[column].is_null().all():
                continue
            had_groups = True
            closed = every if column in ANY_GROUP else self.groups[column]
            mine = table.select("image", pl.col(column).cast(pl.String)).drop_nulls()
            found |= {Path(image): closed[name] for image, name in mine.iter_rows() if name in closed}
        return found, had_groups


def digests_of(
    files: Iterable[Path], digests: FileDigests, reporter: Reporter
) -> tuple[dict[Path, str], list[Path]]:
    """Return the SHA-256 of each file that can be read, and the files that cannot."""
    wanted = list(files)
    try:
        return dict(zip(wanted, digests.sha256_many(wanted, reporter), strict=True)), []
    except DataError:
        found: dict[Path, str] = {}
        for path in wanted:
            try:
                found[path] = digests.sha256(path)
            except DataError:
                continue
        return found, [path for path in wanted if path not in found]


def folders_around(images: Sequence[Path]) -> tuple[Path, ...]:
    """Return the folders that images lie in and all folders above, as written and as links lead.

    A data set is known by its folder's name, so one that is named by itself is found among these.
    """
    parents = {image.parent.absolute() for image in images}
    parents |= {image.resolve().parent for image in images if image.is_symlink()}
    parents |= {parent.resolve() for parent in parents}
    return tuple(dict.fromkeys(above for folder in sorted(parents) for above in (folder, *folder.parents)))
