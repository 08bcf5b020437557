"""The command line: one module a command, errors and exit codes in one place.

Exit codes: 0 done, 1 a check said no, 2 bad usage or settings (one line that names the key or file), 3 a fault,
4 an end on a disk that hangs, 130 asked to end before it was done.
"""

from __future__ import annotations

import atexit
import errno
import gc
import io
import os
import sys

import typer
import typer.main
from typer.exceptions import Abort, TyperException

from daemon import __version__
from daemon.cli.lazy import Later, LazyGroup
from daemon.cli.options import INTERRUPTED
from daemon.core.errors import HrmdError, Unavailable, UsageError

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Commands(LazyGroup):
    """Every command, in the order of the help page."""

    later = {  # noqa: RUF012 — typed by LazyGroup
        "run": Later("daemon.cli.run:run", "Run the daemon by its settings: live or on paper, with logs on stderr and "
                     "control over local HTTP."),
        "replay": Later("daemon.cli.replay:replay", "Replay recorded ticks through the whole daemon."),
        "sweep": Later("daemon.cli.sweep:sweep", "Try settings over tapes, instruments and seeds; killed and begun "
                       "again it ends with the same table."),
        "report": Later("daemon.cli.report:report", "Report a run from its journal alone: the summary of `hrmd "
                        "replay`, and with -o its page."),
        "new": Later("daemon.cli.new:new_app", "Write a strategy of your own to begin with, and its test."),
        "verify": Later("daemon.cli.verify:verify", "Re-run a journal's decisions; exit 1 and the first difference "
                        "where one differs."),
        "explain": Later("daemon.cli.explain:explain", "Make a journal's decisions again up to one, and say what spoke "
                         "for it and against it."),
        "check": Later("daemon.cli.check:check", "Check settings and preconditions; exit 1 where something is "
                       "missing."),
        "brokers": Later("daemon.cli.brokers:brokers", "List the brokers, what each can do, and which of them the "
                         "settings name."),
        "login": Later("daemon.cli.login:login", "Get the day's Fyers access token into broker.fyers.token_file."),
        "train": Later("daemon.cli.train:train", "Train a model; SIGTERM and Ctrl-C save a checkpoint first. With "
                       "torchrun: -m daemon train."),
        "evaluate": Later("daemon.cli.evaluate:evaluate", "Score a model: share of the best possible trader where it "
                          "is known, Sharpe with intervals, controls, depth."),
        "sandbox": Later("daemon.cli.sandbox:sandbox", "Run a local exchange that speaks as Fyers does, or as an "
                         "OpenAlgo server, until Ctrl-C."),
        "budget": Later("daemon.cli.budget:budget_app", "One risk budget for several daemons: lend it, look at it."),
        "tape": Later("daemon.cli.tape:tape_app", "Look at, convert, simulate or record tapes of ticks."),
        "instruments": Later("daemon.cli.instruments:instruments_app", "Get the symbol master; look at instruments."),
        "calendar": Later("daemon.cli.calendar:calendar_app", "NSE's sessions and holidays; take a new year's list."),
        "history": Later("daemon.cli.history:history_app", "Bars of the past from a broker."),
        "ctl": Later("daemon.cli.ctl:ctl_app", "Speak to a running daemon over local HTTP."),
        "top": Later("daemon.cli.top:top", "Watch and command a running daemon in this terminal (hrmd[top])."),
        "token": Later("daemon.cli.token:token_app", "Tokens of people and programs for the control API."),
        "alert": Later("daemon.cli.alert:alert_app", "Who is told what has happened, when nobody looks."),
        "model": Later("daemon.cli.model:model_app", "Look at, convert or check a model artifact; keep a "
                       "store of them."),
        "bench": Later("daemon.cli.bench:bench_app", "Measure this machine."),
    }  # fmt: skip


app = typer.Typer(
    name="hrmd",
    cls=Commands,
    help="A trading daemon for Indian markets that reasons with a Hierarchical Reasoning Model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    atexit.register(gc.freeze)  # or the interpreter looks through all that there is as it ends, twice over
    _open_missing_streams()
    _spell_what_has_no_letter()
    command = typer.main.get_command(app)
    try:
        result = command.main(args=arguments, prog_name="hrmd", standalone_mode=False)
        sys.stdout.flush()
    except HrmdError as error:
        _complain(str(error))
        return _code(error)
    except TyperException as error:
        return _misused(error)
    except (KeyboardInterrupt, Abort):
        _complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader (head, less) has had enough
        _forget_stdout()
        return 0
    except Exception as error:  # noqa: BLE001 — the last line before the shell: a fault must not pass as a traceback
        if isinstance(error, OSError) and error.errno in _FULL:
            _forget_unwritten()
            _complain(f"{error.filename or 'output'}: {error.strerror}: make room, and run it again")
            return 3
        import structlog

        structlog.get_logger("cli").exception("fault")
        _complain(f"fault: {type(error).__name__}: {error}")
        return 3
    if result == INTERRUPTED:
        _complain("interrupted")
    return result if isinstance(result, int) else 0


def _code(error: HrmdError) -> int:
    """What is refused for a disk that is full, say, isn't a mistake of who asked; that no daemon runs there is."""
    from daemon.core.passing import passes

    stays = not isinstance(error, UsageError) or isinstance(error.__context__, ConnectionError)
    return error.exit_code if stays or not passes(error) else Unavailable.exit_code


def _open_missing_streams() -> None:
    """Whoever starts us with a closed stdin, stdout or stderr: libraries end the process where they find none."""
    for place, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != place:
                os.dup2(null, place)
                os.close(null)
            os.set_inheritable(place, True)
            setattr(sys, name, open(place, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 — for good


def _spell_what_has_no_letter() -> None:
    """A stdout of an older encoding has no ₹, and none has a letter for each byte of a file's name: no fault."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _forget_unwritten() -> None:
    """What couldn't be written to stdout isn't tried once more at the interpreter's end."""
    try:
        sys.stdout.flush()
    except OSError:
        _forget_stdout()


def _forget_stdout() -> None:
    """Nothing is written there any more, at the interpreter's end neither."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _misused(error: TyperException) -> int:
    """A wrong command line: one line that says what; a bare group of commands has printed its help and says nothing."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    if message.strip():
        _complain(message.replace(": Value error, ", ": "))  # pydantic's own words
    return 2


def _complain(message: str) -> None:
    sys.stderr.write("error: " + " ".join(message.split()) + "\n")
