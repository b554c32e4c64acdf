"""Define the command line. Results go to files and stdout, everything else to stderr."""

import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from ..errors import CliffvidError, describe
from ..machine import thread_environment, usable_cores
from .annotate import annotate, annotate_export, annotate_merge, annotate_status, annotate_verify
from .console import close_streams, hear_the_library, open_streams, result, say
from .evaluate import evaluate, pseudogt_app
from .exporting import export_app
from .flags import ParseError, make_command, parse_message
from .models import doctor, models_app
from .process import probe, process
from .tracks import convert, overlay, report, smooth

if TYPE_CHECKING:  # typer vendors click under a name that depends on its version
    from typer._click import Context


class Commands(TyperGroup):
    """Group of all commands, with one exit code for Ctrl-C after all clean-up."""

    def invoke(self, context: "Context") -> object:
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            _ignore_signals()
            say("interrupted: what was finished is kept, nothing half-written is left behind")
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=Commands,
    help="Video to per-frame SMPL body tracks.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line. Exit codes: 0 success, 1 failures, 2 usage, 130 interrupted, 128 + n ended by signal n."""
    open_streams()
    hear_the_library()
    os.environ.update(thread_environment(usable_cores()))  # before any library is loaded
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:  # under nohup SIGHUP is ignored
            signal.signal(number, _end)
    try:
        sys.exit(make_command(app)(standalone_mode=False) or 0)
    except EndedBySignal as ended:
        say(f"ended by {ended.name}: nothing half-written is left behind")
        raise
    except ParseError as error:
        if message := parse_message(error):
            say(f"error: {message}")
        sys.exit(error.exit_code)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        if not isinstance(error.__cause__, BrokenPipeError):  # a reader such as ``| head`` closed the pipe
            say(describe(error))
        sys.exit(error.exit_code if isinstance(error, CliffvidError) else 1)
    finally:
        close_streams()


# Only signals that this system has.
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)]


class EndedBySignal(SystemExit):
    """Exit on a signal, with the same clean-up as after Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name


def _ignore_signals() -> None:
    """Ignore repeated signals while the command ends."""
    for each in (*ENDING, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)


def _end(number: int, frame: object) -> None:
    _ignore_signals()
    raise EndedBySignal(number)


def _print_version(wanted: bool) -> None:
    if wanted:
        from ..machine import version

        result(version())
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    pass


# In the order of the help text.
TRACKS, DATA_SETS, GROUND_TRUTH, MACHINE = "Tracks", "Data sets", "Ground truth", "Models and machine"
for panel, command, name in (
    (None, process, "process"),
    (None, probe, "probe"),
    (TRACKS, overlay, "overlay"),
    (TRACKS, report, "report"),
    (TRACKS, smooth, "smooth"),
    (TRACKS, convert, "convert"),
    (DATA_SETS, annotate, "annotate"),
    (DATA_SETS, annotate_status, "annotate-status"),
    (DATA_SETS, annotate_merge, "annotate-merge"),
    (DATA_SETS, annotate_verify, "annotate-verify"),
    (DATA_SETS, annotate_export, "annotate-export"),
    (GROUND_TRUTH, evaluate, "eval"),
    (MACHINE, doctor, "doctor"),
):
    app.command(name, rich_help_panel=panel)(command)
app.add_typer(pseudogt_app, name="pseudogt", rich_help_panel=GROUND_TRUTH)
app.add_typer(models_app, name="models", rich_help_panel=MACHINE)
app.add_typer(export_app, name="export", rich_help_panel=MACHINE)
