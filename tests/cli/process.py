"""eventhub as a process: what it writes where, and how it ends."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cyclopts import App

from eventhub.cli import app

COMMAND = (sys.executable, "-m", "eventhub")
TIMEOUT_S = 60


def commands(group: App = app, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and every group, as what is typed."""
    yield path
    for name in group:
        if not name.startswith("-"):
            yield from commands(group[name], (*path, name))


class Ended(NamedTuple):
    """What a command left behind; `stderr` is what a terminal got."""

    returncode: int
    stdout: str
    stderr: str


def clean(environ: dict[str, str]) -> dict[str, str]:
    """This environment without settings and without what changes colours, and with `environ`."""
    drop = ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("EVENTHUB_") and k not in drop}
    return kept | {"TERM": "xterm-256color"} | environ


def run(*arguments: str, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with pipes."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, env=clean(environ), cwd=cwd, timeout=TIMEOUT_S
    )


def start(*arguments: str, cwd: Path | None = None, **environ: str) -> subprocess.Popen[str]:
    """Start a command, with pipes."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean(environ),
        cwd=cwd,
        preexec_fn=_take_interrupts,
    )


def _take_interrupts() -> None:
    """A shell starts what runs in its background deaf to Ctrl-C, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run_on_terminal(*command: str, **environ: str) -> Ended:
    """Run any command to its end with a terminal as its stderr, and a pipe as its stdout."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True, env=clean(environ))
    finally:
        os.close(theirs)
    told = bytearray()
    try:
        while part := os.read(ours, 65536):
            told += part
    except OSError:  # Linux: the other side is closed
        pass
    finally:
        os.close(ours)
    stdout, _ = process.communicate(timeout=TIMEOUT_S)
    return Ended(process.returncode, stdout, told.decode())
