"""Named points in the path at which tests let a node die, freeze or fail; every step of the path has some.

A point is an auditing event of Python (`sys.audit`): it does nothing, in some 50 ns, unless a hook listens. Only `arm`
installs one, when the environment of a test says so, and the production profile refuses it. The variables have no
prefix of ours, because they are no settings:

    FAILPOINTS         POINT=ACTION[@N][:FLAG],…  `enrichment.before_write=kill@3,history.after_commit=pause:/a/flag`
    FAILPOINTS_RECORD  a file that gets one line for each firing, `POINT ACTION PID`, on the disk before it happens

`kill` is SIGKILL to this process, `pause` is SIGSTOP, `raise` is a FailpointError. A point fires once, when it is
reached for the N-th time (1); with a FLAG whenever that file exists, which is removed: of several nodes only one fires.
"""

import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from eventhub.errors import ConfigError

EVENT = "eventhub.failpoint"
VARIABLE, RECORD_VARIABLE = "FAILPOINTS", "FAILPOINTS_RECORD"
ACTIONS = ("kill", "pause", "raise")
POINTS: dict[str, str] = {
    "ingest.after_ack": "the records are durable, the 202 is not sent",
    "enrichment.after_fence": "older owners are refused, the state is not rebuilt",
    "enrichment.before_write": "the batch is decided, nothing of it is on the log",
    "enrichment.after_dead_letters": "the dead letters are written, the batch is not on the log",
    "enrichment.after_write": "the batch is on the log, the owner has not looked for more",
    "history.before_commit": "rows and progress are in the transaction, which is open",
    "history.after_commit": "rows and progress are stored, the owner does not know yet",
    "aggregation.after_states": "the state events are written, the folds are not",
}
"""Every point, and what is true when it is reached."""


class FailpointError(Exception):
    """A failpoint was told to raise."""


class Fault(NamedTuple):
    """What happens at a point; see the module's docstring."""

    point: str
    action: str
    nth: int
    flag: Path | None


def reach(point: str) -> None:
    """Say that the path is at this point. Returns at once, unless a test has armed it."""
    sys.audit(EVENT, point)


def arm(environ: Mapping[str, str], *, profile: str) -> None:
    """Let the faults of FAILPOINTS happen in this process from now on; nothing without it. Cannot be undone.

    Raises ConfigError in production, and for what is not understood.
    """
    text = environ.get(VARIABLE)
    if not text:
        return
    if profile == "production":
        raise ConfigError(f"{VARIABLE} is set: it lets this node fail on purpose, which production refuses; unset it")
    record = environ.get(RECORD_VARIABLE)
    sys.addaudithook(Armed(parse(text), Path(record) if record else None))


def parse(text: str) -> list[Fault]:
    """The faults of a FAILPOINTS text. Raises ConfigError."""
    return [_parse(part.strip()) for part in text.split(",")]


def _parse(text: str) -> Fault:
    point, _, rest = text.partition("=")
    rest, _, flag = rest.partition(":")
    action, _, nth = rest.partition("@")
    if point not in POINTS:
        raise ConfigError(f"{VARIABLE}: there is no point {point!r}; points are {', '.join(POINTS)}")
    if action not in ACTIONS or (nth and not nth.isdecimal()):
        raise ConfigError(f"{VARIABLE}: {text!r} is not POINT=ACTION[@N][:FLAG]; actions are {', '.join(ACTIONS)}")
    return Fault(point, action, int(nth or 1), Path(flag) if flag else None)


class Armed:
    """The auditing hook of an armed process. Called for every event of Python's, in any thread."""

    def __init__(self, faults: list[Fault], record: Path | None) -> None:
        self._faults: dict[str, list[Fault]] = {}
        for fault in faults:
            self._faults.setdefault(fault.point, []).append(fault)
        self._record = record
        self._reached: dict[str, int] = {}
        self._lock = threading.Lock()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take an auditing event; ours may not return, or raise FailpointError."""
        if event != EVENT:
            return
        (point,) = arguments
        if point not in self._faults:
            return
        with self._lock:
            reached = self._reached[point] = self._reached.get(point, 0) + 1
        for fault in self._faults[point]:
            if self._is_due(fault, reached):
                self._fire(fault)

    def _is_due(self, fault: Fault, reached: int) -> bool:
        if fault.flag is None:
            return reached == fault.nth
        if reached < fault.nth:
            return False
        try:
            # Removing is the claim: whoever else sees the flag now does not get it.
            fault.flag.unlink()
        except FileNotFoundError:
            return False
        return True

    def _fire(self, fault: Fault) -> None:
        if self._record is not None:
            line = f"{fault.point} {fault.action} {os.getpid()}\n".encode()
            file = os.open(self._record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(file, line)
                os.fsync(file)
            finally:
                os.close(file)
        if fault.action == "raise":
            raise FailpointError(f"told to fail at {fault.point}")
        os.kill(os.getpid(), signal.SIGKILL if fault.action == "kill" else signal.SIGSTOP)
