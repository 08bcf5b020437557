"""The command line: one module a command, errors and exit codes in one place.

Exit codes: 0 done, 1 a check said no, 2 bad usage or settings (one line that names the key or file), 3 a fault.
"""

from __future__ import annotations

import os
import sys

import structlog
import typer
import typer.main
from typer.exceptions import Abort, TyperException

from daemon import __version__
from daemon.cli.bench import bench_app
from daemon.cli.check import check
from daemon.cli.ctl import ctl_app
from daemon.cli.evaluate import evaluate
from daemon.cli.history import history_app
from daemon.cli.instruments import instruments_app
from daemon.cli.login import login
from daemon.cli.model import model_app
from daemon.cli.replay import replay
from daemon.cli.run import run
from daemon.cli.sandbox import sandbox
from daemon.cli.tape import tape_app
from daemon.cli.train import train
from daemon.cli.verify import verify
from daemon.errors import HrmdError

app = typer.Typer(
    name="hrmd",
    help="A trading daemon for Indian markets that reasons with a Hierarchical Reasoning Model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(replay)
app.command()(verify)
app.command()(check)
app.command()(login)
app.command()(train)
app.command()(evaluate)
app.command()(sandbox)
app.add_typer(tape_app, name="tape")
app.add_typer(instruments_app, name="instruments")
app.add_typer(history_app, name="history")
app.add_typer(ctl_app, name="ctl")
app.add_typer(model_app, name="model")
app.add_typer(bench_app, name="bench")


def _version(value: bool) -> None:
    if value:
        sys.stdout.write(f"hrmd {__version__}\n")
        raise typer.Exit


@app.callback()
def hrmd(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """A trading daemon for Indian markets that reasons with a Hierarchical Reasoning Model."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code; the console script exits with it."""
    command = typer.main.get_command(app)
    try:
        result = command.main(args=arguments, prog_name="hrmd", standalone_mode=False)
        sys.stdout.flush()
    except HrmdError as error:
        _complain(str(error))
        return error.exit_code
    except TyperException as error:
        return _misused(error)
    except (KeyboardInterrupt, Abort):
        _complain("interrupted")
        return 130
    except BrokenPipeError:  # the reader (head, less) has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 — the last line before the shell: a fault must not pass as a traceback
        structlog.get_logger("cli").exception("fault")
        _complain(f"fault: {type(error).__name__}: {error}")
        return 3
    return result if isinstance(result, int) else 0


def _misused(error: TyperException) -> int:
    """A wrong command line: one line that says what; a bare group of commands has printed its help and says nothing."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    if message.strip():
        _complain(message)
    return 2


def _complain(message: str) -> None:
    sys.stderr.write("error: " + " ".join(message.split()) + "\n")
