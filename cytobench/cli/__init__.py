"""The command line: one module a command group; commands import what they need when they run."""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

import typer

from cytobench.cli import (
    attend,
    audit,
    bundle,
    cache,
    catalogue,
    check,
    compare,
    data,
    demo,
    doctor,
    embed,
    errors,
    index,
    leaderboard,
    new,
    pretrain,
    run,
    search,
    serve,
)
from cytobench.errors import CytoBenchError
from cytobench.heap import keep_freed_memory

_INTERRUPTED = 130
_HOW_TO_GO_ON = "Interrupted. What was finished is kept; the same command goes on from there."

app = typer.Typer(
    name="cytobench",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Which foundation model should I use for my cells? Frozen backbones, leak-free folds.",
    epilog="Start with [bold]cytobench demo[/bold], then [bold]cytobench run -b uni --data DIR[/bold].",
)
app.command(rich_help_panel="Benchmark")(run.run)
app.command(rich_help_panel="Benchmark")(run.extract)
app.command("leaderboard", rich_help_panel="Benchmark")(leaderboard.leaderboard)
app.command(rich_help_panel="Benchmark")(compare.compare)
app.command(rich_help_panel="Benchmark")(demo.demo)
app.add_typer(new.app, name="new", rich_help_panel="Bring your own")
app.command(rich_help_panel="Bring your own")(check.check)
app.command(rich_help_panel="Bring your own")(audit.audit)
app.add_typer(data.app, name="data", rich_help_panel="Bring your own")
app.add_typer(bundle.app, name="bundle", rich_help_panel="Bring your own")
app.command(rich_help_panel="See it")(search.search)
app.add_typer(index.app, name="index", rich_help_panel="See it")
app.command(rich_help_panel="See it")(embed.embed)
app.command(rich_help_panel="See it")(errors.errors)
app.command(rich_help_panel="See it")(attend.attend)
app.command(rich_help_panel="See it")(serve.serve)
app.command(rich_help_panel="Train a backbone")(pretrain.pretrain)
app.command(rich_help_panel="Train a backbone")(pretrain.views)
app.command("list", rich_help_panel="Look around")(catalogue.list_)
app.command(rich_help_panel="Look around")(catalogue.show)
app.command(rich_help_panel="Look around")(doctor.doctor)
app.add_typer(cache.app, name="cache", rich_help_panel="Look around")


def _version(asked: bool) -> None:
    if asked:
        from cytobench import __version__

        typer.echo(f"cytobench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
    debug: bool = typer.Option(False, "--debug", help="Show Python's traceback when something fails."),
) -> None:
    del version, debug  # both are dealt with before any command runs


def main() -> None:
    """Run the command line; errors become one sentence on standard error and an exit code."""
    # Threads that wait by spinning bring a busy machine to a stand-still; it is read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()
    debug = "--debug" in sys.argv or bool(os.environ.get("CYTOBENCH_DEBUG"))
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    if debug:
        logging.basicConfig(level=logging.INFO)
        logging.getLogger("cytobench").setLevel(logging.DEBUG)
    try:
        app(args=arguments, prog_name="cytobench")
    except SystemExit as stop:
        if stop.code == _INTERRUPTED:  # the command-line library has dealt with Ctrl-C, silently
            typer.secho(_HOW_TO_GO_ON, err=True, fg=typer.colors.RED)
        raise
    except CytoBenchError as error:
        _fail(str(error), error.exit_code, debug=debug)
    except KeyboardInterrupt:
        _fail(
            "Interrupted. What was finished is kept; the same command goes on from there.", 130, debug=False
        )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        _fail(_os_sentence(error), 1, debug=debug)
    except Exception as error:
        what = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        _fail(f"This should not have happened ({what}); run again with --debug to see where.", 1, debug=debug)


def _os_sentence(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return f"The system refused: {error.strerror or error}{where}; check the path, its rights and the disk."


def _fail(sentence: str, code: int, *, debug: bool) -> NoReturn:
    if debug:
        raise  # called from except blocks only
    typer.secho(sentence, err=True, fg=typer.colors.RED)
    sys.exit(code)
