"""`python -m tests.drills.defects RECORD MUTANT …`: eventhub, but its enrichment has defects, which some events meet.

An event says in its payload which defect it meets. RECORD gets a line, `DEFECT NUMBER PID`, before each happens. MUTANT
is one of tests.drills.mutants, which takes a guarantee away as well; `intact` takes nothing.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from eventhub.cli import main
from eventhub.events import TYPES, Event, Match, RawEvent
from eventhub.streams import enrich
from eventhub.streams.enrich import Enricher
from tests.drills.mutants import MUTANTS

NEW_TYPE = "keeper_leaving_line"


class Payload(msgspec.Struct):
    """What an event of these drills carries: its number, and the defect that it meets."""

    n: int = -1
    defect: str | None = None


class MuteError(Exception):
    """An error that fails when it is asked what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def _value() -> None:
    raise ValueError("a clock of minus one")


def _key() -> None:
    raise KeyError("captain")


def _endless(depth: int = 0) -> None:
    _endless(depth + 1)


def _unicode() -> None:
    b"\xff\xfe".decode()


def _zero() -> None:
    divmod(1, 0)


def _surrogate() -> None:
    raise LookupError("no player named \ud800")


def _mute() -> None:
    raise MuteError


RAISING: dict[str, Callable[[], None]] = {
    "value": _value,
    "key": _key,
    "recursion": _endless,
    "unicode": _unicode,
    "zero": _zero,
    "surrogate": _surrogate,
    "mute": _mute,
    "after-decision": _value,
}
"""What the step raises; the last one only once the event is decided."""
KINDS = (*RAISING, "unknown-type", "unknown-match")
"""The ten ways in which an event fails that a repaired node can process: the last two need no defect of the step."""
CRASHING: dict[str, Callable[[], None]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hang": lambda: time.sleep(3600),
}
"""What ends the worker: at once, or when the watchdog has waited long enough."""

payload_of = msgspec.json.Decoder(Payload).decode


def note(record: Path, defect: str, number: int) -> None:
    """Write a line before anything happens; it outlives this process, and waiting for the disk would be felt."""
    with record.open("ab", buffering=0) as file:
        file.write(f"{defect} {number} {os.getpid()}\n".encode())


def install(record: Path) -> None:
    """Patch the step of enrichment."""
    enrich_, tick = Enricher._enrich, Enricher._tick
    decided: list[int] = []

    def enriching(self: Enricher, event: RawEvent, match: Match, kind: bytes) -> Event:
        told = payload_of(event.payload)
        if told.defect == "after-decision":
            decided.append(told.n)
        elif told.defect in RAISING or told.defect in CRASHING:
            note(record, told.defect, told.n)
            (RAISING | CRASHING)[told.defect]()
        return enrich_(self, event, match, kind)

    def ticking(self: Enricher, topic: str, match_id: str, at_ms: int, *clock: object) -> None:
        tick(self, topic, match_id, at_ms, *clock)  # type: ignore[arg-type]
        if decided:
            note(record, "after-decision", decided.pop())
            RAISING["after-decision"]()

    Enricher._enrich = enriching  # type: ignore[method-assign]
    Enricher._tick = ticking  # type: ignore[method-assign, assignment]
    # A node of an older version, which does not know a type that ingest takes by now.
    enrich.TYPES = {name: one for name, one in TYPES.items() if name != NEW_TYPE}  # type: ignore[attr-defined]


if __name__ == "__main__":
    install(Path(sys.argv.pop(1)))
    MUTANTS[sys.argv.pop(1)]()
    main()
