"""Commands under a pseudo-terminal, as a person at a terminal runs them, and what they see there."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyte

STRAY = re.compile(r"\x1b|\[\d+(;\d+)*[A-Zm]|\[\?25")  # of an escape sequence that was cut or shown as text
BAR = re.compile(r"[━╸╺] +\d+(/\d+)?( |$)")
LIMIT_S = 100


@dataclass
class Session:
    """What a command did to its terminal."""

    exit_code: int
    screens: list[list[str]]  # each that a person saw, as its lines
    lines: list[str]  # what is left, scrolled off lines first; wrapped lines are joined
    cursor_hidden: bool
    written: bytes = field(repr=False)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def seen(self, pattern: str) -> list[re.Match]:
        """The first match in each line of each screen."""
        return [match for screen in self.screens for line in screen if (match := re.search(pattern, line))]


def run(
    *command: str | bytes | Path,
    cwd: Path,
    size: tuple[int, int] = (80, 24),
    env: dict[str, str] | None = None,
    keys: Callable[[list[str]], bytes] = lambda screen: b"",
) -> Session:
    """Run ``python -m cliffvid`` with its three streams on a terminal of columns x rows.

    ``keys`` is asked after each output what to type, given the screen.
    """
    columns, rows = size
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environ = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    environ |= {"TERM": "xterm-256color"} | (env or {})
    given = [part if isinstance(part, bytes) else str(part) for part in command]
    process = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-m", "cliffvid", *given],  # Ctrl-C comes from the terminal
        cwd=cwd,
        env=environ,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    screen = Screen(columns, rows, history=10_000)
    stream, written, screens = pyte.ByteStream(screen), b"", []
    end = time.monotonic() + LIMIT_S
    try:
        while data := _read(ours, end):
            written += data
            stream.feed(data)
            screens.append([line.rstrip() for line in screen.display])
            if typed := keys(screens[-1]):
                os.write(ours, typed)
        code = process.wait(10)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        os.close(ours)
    return Session(code, screens, screen.left(), screen.cursor.hidden, written)


def _read(terminal: int, end: float) -> bytes:
    """Return what was written meanwhile; nothing once the last program has left the terminal."""
    if not select.select([terminal], [], [], max(end - time.monotonic(), 0))[0]:
        raise TimeoutError("the command did not end")
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says so
        return b""


class Screen(pyte.HistoryScreen):
    """A screen that knows which of its rows go on in the next, as terminals do."""

    def draw(self, data: str) -> None:
        for character in data:
            wraps, begins = self.cursor.x == self.columns, self.cursor.x == 0
            super().draw(character)
            if wraps or begins:
                self.buffer[self.cursor.y].goes_on = wraps

    def left(self) -> list[str]:
        """What was printed, in lines."""
        lines = [""]
        for row in [*self.history.top, *(self.buffer[number] for number in range(self.lines))]:
            text = "".join(row[column].data for column in range(self.columns))
            if getattr(row, "goes_on", False):
                lines[-1] += text
            else:
                lines.append(text)
        return "\n".join(line.rstrip() for line in lines).strip("\n").split("\n")


def assert_clean(session: Session) -> None:
    """What every command owes the terminal it leaves."""
    assert not session.cursor_hidden
    assert not STRAY.search(session.text), session.text
    assert not BAR.search(session.text) and "Traceback" not in session.text, session.text
