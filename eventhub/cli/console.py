"""How commands speak: data on stdout, sentences, progress and errors on stderr."""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from cyclopts import Parameter

from eventhub.errors import EventhubError

if TYPE_CHECKING:  # at run time they are loaded where they are used, so that help does not wait for them
    from rich.console import Console
    from rich.progress import Progress

    from eventhub.config import Settings

LINE_EVERY_S = 10
WIDEST = 40
"""Columns of a table's cell that others are aligned to; a longer cell only moves what stands right of it."""
DataDir = Annotated[Path | None, Parameter(help="Folder of everything that a node keeps.")]
ConfigFile = Annotated[Path | None, Parameter(help="TOML file of settings.")]


def settings(data_dir: Path | None, config: Path | None, flags: Mapping[str, object] | None = None) -> "Settings":
    """The settings of this command; flags win over the environment, which wins over the file."""
    from eventhub.config import load

    return load(config_file=config, environ=environment(), flags={"data_dir": data_dir, **(flags or {})})


def environment() -> Mapping[str, str]:
    """The environment, for the one place that reads settings from it."""
    return os.environ


def say(line: str) -> None:
    """A sentence for people."""
    _console().print(line, highlight=False, markup=False, soft_wrap=True)


def data(line: str) -> None:
    """A line for programs; written at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def data_rows(rows: Iterable[Sequence[str]]) -> None:
    """A table for people who may also grep it: columns in line, without colour, an empty row between its parts."""
    table = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip_longest(*table, fillvalue="")]
    for row in table:
        cells = [cell.ljust(min(width, WIDEST)) for cell, width in zip(row, widths, strict=False)]
        data("  ".join(cells).rstrip())


def data_json(value: Any) -> None:
    """An object for programs."""
    data(json.dumps(value, ensure_ascii=False))


def is_local(node: str) -> bool:
    """Whether an address names this machine, so that keys and tokens made here may be sent to it."""
    return urlsplit(node).hostname in ("127.0.0.1", "localhost", "::1")


def reachable(url: str) -> str:
    """The URL by which this machine reaches a server: one that listens on every address is at the loopback."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def quiet_stdout() -> None:
    """Whoever read our lines has enough of them; nothing more is written, not even when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def printable(text: str) -> str:
    """Text from outside without what a terminal would obey."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def fail(error: EventhubError) -> None:
    """An error as a person needs it: what it is, then the cause and the next step."""
    _console().print(f"{error.title}: {error.detail}", style="bold red", highlight=False, markup=False, soft_wrap=True)


class Meter:
    """A progress bar on a terminal; elsewhere one line every 10 s."""

    def __init__(self, bars: "Progress | None") -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}
        self._said_at = 0.0

    def __call__(self, label: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total`; a label is a bar of its own."""
        if self._bars is not None:
            if label not in self._tasks:
                self._tasks[label] = self._bars.add_task(label, total=total, note=note)
            self._bars.update(self._tasks[label], completed=done, total=total, note=note)
        elif time.monotonic() - self._said_at >= LINE_EVERY_S or done >= total:
            self._said_at = time.monotonic()
            say(f"{label}: {done} of {total} {note}".rstrip())


@contextmanager
def meter() -> Iterator[Meter]:
    """A meter for as long as something is under way."""
    console = _console()
    if not console.is_terminal:
        yield Meter(None)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        yield Meter(bars)


def _console() -> "Console":
    from rich.console import Console

    return Console(stderr=True)
