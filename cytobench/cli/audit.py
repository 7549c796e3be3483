"""`cytobench audit`: copies, contradictions, outliers and bad pictures of a task, with pictures of each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cytobench.cli.options import DataOption, HomeOption, PluginOption, load_registry, places, writing

if TYPE_CHECKING:
    from cytobench.audit.issue import Audit
    from cytobench.findings import Finding


def audit(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A name from `list tasks`, or a card file.")],
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            "--backbone",
            "-b",
            metavar="NAME",
            help="A backbone that looks too: for cells alike to it, and outliers (repeatable).",
        ),
    ] = None,
    pool: Annotated[
        list[str] | None,
        typer.Option(
            "--pool",
            metavar="NAME|RUN|DIR",
            help="What was pretrained on: a data set, a folder `pretrain` wrote, or images (repeatable).",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where page and JSON go; default: audit-TASK.", show_default=False),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="KIND", help="A kind of finding that is accepted (repeatable)."),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The audit.json of an earlier audit: its findings are known."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a summary.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    data: DataOption = None,
    home: HomeOption = None,
    plugin: PluginOption = None,
) -> None:
    """Look through a task's pictures for what spoils a score, and write a page that shows it.

    Copies across folds, in the sealed share and in pretraining pools; contradicting labels; outliers; blank,
    blurred and cut-off cells. Exit code 1 while something is to be mended that is neither allowed nor in the
    baseline.

    [dim]Example:[/dim]  cytobench audit rbc-type-chula -b morphology --data DIR
    """
    from cytobench.audit.baseline import known_issues, require_kinds
    from cytobench.audit.examine import Request
    from cytobench.audit.examine import audit as examine
    from cytobench.audit.page import as_json as to_json
    from cytobench.audit.page import page
    from cytobench.cli.console import ConsoleReporter
    from cytobench.evaluation.ledger import folder_name

    where, registry, reporter = places(home, data), load_registry(plugin, home=home), ConsoleReporter()
    card = registry.task(task)
    cards = [registry.backbone(name) for name in dict.fromkeys(backbone or [])]
    kinds = require_kinds(allow or [])
    known = known_issues(baseline, card.name) if baseline else frozenset()
    request = Request(card, where.home, where.data, cards, tuple(dict.fromkeys(pool or [])), device)
    found = examine(request, reporter, allow=kinds, baseline=known)
    folder = out or Path(f"audit-{folder_name(card.name)}")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "audit.json").write_text(to_json(found) + "\n", encoding="utf-8")
        html = page(card, found, found.pictures.of, reporter)
        (folder / "audit.html").write_text(html, encoding="utf-8")
    if as_json:
        typer.echo(to_json(found))
    else:
        _show(card.name, found)
        reporter.say(f"Written: {folder / 'audit.html'}, {folder / 'audit.json'}")
    if found.failed:
        raise typer.Exit(1)


def _show(name: str, found: Audit) -> None:
    from cytobench.cli.findings import show_findings

    show_findings(f"Audit of {name}", _findings(found))


def _findings(found: Audit) -> list[Finding]:
    """Return a finding a kind; what is known already has no cross."""
    from cytobench.audit.issue import KINDS
    from cytobench.findings import Finding, Mark

    told = []
    for kind in KINDS.values():
        issues = found.of_kind(kind.name)
        lacking = found.lacks(kind.name)
        if lacking:
            says = f"{kind.heading}: not looked for; name a {' and a '.join(lacking)}"
            told.append(Finding(kind.name, "skip", f"{says} ({', '.join(f'--{one}' for one in lacking)})."))
            continue
        fresh = [issue for issue in issues if not issue.known]
        mark: Mark = kind.mark if fresh else "pass"
        says = f"{kind.heading}: {len(issues):,}" if issues else f"{kind.heading}: none"
        if len(fresh) < len(issues):
            says += f", {len(issues) - len(fresh):,} of them known"
        cases = tuple(
            " and ".join(f"{one.name} ({one.place})" if one.place else one.name for one in issue.members)
            + f": {issue.says}"
            for issue in fresh
        )
        told.append(Finding(kind.name, mark, f"{says}.", kind.cure if fresh else "", cases))
    if found.remarks:
        told.append(Finding("whole set", "warn", "To know about it:", "", found.remarks))
    return told
