"""`cytobench serve`: an interactive page on this machine."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from cytobench.cli.options import DataOption, HomeOption, PluginOption, load_registry, places


def serve(
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset", "-d", metavar="NAME", help="The collection to begin with.", show_default=False
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone", "-b", metavar="NAME", help="The backbone to begin with.", show_default=False
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen; other hosts let others in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 8080,
    any_port: Annotated[
        bool, typer.Option("--any-port", help="Take the next free port when that one is in use.")
    ] = False,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    data: DataOption = None,
    home: HomeOption = None,
    plugin: PluginOption = None,
) -> None:
    """Serve a page: drop a cell or draw a box in a field, see similar cells, attention, the leaderboard.

    It listens on this machine only, fetches nothing, and keeps no upload; it needs the extra "serve" of the
    package. For research: neighbours are no diagnosis.

    [dim]Examples:[/dim]  cytobench serve --data DIR  ·  cytobench serve -d bccd -b cytofm --data DIR
    """
    from cytobench.app.server import free_address, require_nicegui

    require_nicegui()
    where, registry = places(home, data), load_registry(plugin, home=home, download=False)
    address = free_address(host, port, search=any_port)

    from cytobench.app import server
    from cytobench.app.bench import Bench
    from cytobench.cli.console import ConsoleReporter
    from cytobench.progress import SilentReporter

    bench = Bench(registry, where.home, where.data, device)
    if dataset is not None and dataset not in registry.tasks:
        from cytobench.retrieval.collection import card_of

        dataset = card_of(dataset, registry, SilentReporter()).name
    with ConsoleReporter().task("looking what can be loaded here", None):
        first = bench.first(dataset, backbone)
    if address.warning:
        typer.secho(address.warning, err=True, fg=typer.colors.YELLOW)
    with suppress(KeyboardInterrupt):  # the server has ended in peace, and passes the signal on
        server.serve(bench, address, first, open_browser=open_, ready=_ready)
    typer.echo("Stopped.")


def _ready(url: str) -> None:
    typer.echo(f"CytoBench is at {url} (Ctrl-C ends it)")
