"""Commands run in this process, where starting one for each of many tries would take too long."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from cliffvid.cli import app as cli


def run(words: list[str]) -> tuple[int, str]:
    """Run a command here; its exit code, and all that it printed."""
    told, before = io.StringIO(), sys.argv
    sys.argv = ["cliffvid", *words]
    try:
        with redirect_stdout(told), redirect_stderr(told), pytest.raises(SystemExit) as end:
            cli.main()
    finally:
        sys.argv = before
    return end.value.code, told.getvalue()
