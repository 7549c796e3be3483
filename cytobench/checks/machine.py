"""The examination of a machine: everything that can keep CytoBench from working on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cytobench.findings import Finding
from cytobench.progress import Reporter, SilentReporter


def check_machine(
    *,
    home: Path,
    data_dirs: Sequence[Path] = (),
    plugins: Sequence[Path] = (),
    reporter: Reporter | None = None,
) -> list[Finding]:
    """Return what an examination of this machine finds, in a few seconds, without any network.

    A package that is missing or broken is a finding, whichever it is.
    """
    from cytobench.checks import device, holdings, packages
    from cytobench.checks import home as home_folder

    found: list[Finding] = []
    with (reporter or SilentReporter()).task("looking at this machine", None) as step:

        def ask(question: str, look: Callable[[], Finding | list[Finding]]) -> None:
            step.advance(note=question)
            try:
                told = look()
            except Exception as error:  # nothing that is broken here may hide the rest
                reason = (str(error).strip().splitlines() or [""])[0]
                told = Finding(question, "fail", f"Could not be looked at: {type(error).__name__}: {reason}")
            found.extend([told] if isinstance(told, Finding) else told)

        ask("Python", packages.python)
        ask("packages", packages.requirements)
        ask("tested versions", packages.tested_versions)
        ask("torch", device.torch_and_devices)
        works = not any(one.question == "torch" and one.mark == "fail" for one in found)
        ask("imports", lambda: packages.imports(torch_works=works))
        ask("faiss", packages.faiss)
        ask("extras", packages.extras)
        ask("memory", home_folder.memory)
        ask("disk", lambda: home_folder.disk(home))
        ask("stored", lambda: home_folder.contents(home))
        ask("cards", lambda: holdings.holdings(home, data_dirs, plugins))
    return found
