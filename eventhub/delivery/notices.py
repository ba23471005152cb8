"""Notices: what is degraded now, told to every client on entering and leaving (path: beside the hub).

A notice tells the whole state, so that a client needs only the last one. A socket is never dropped for any of it.
"""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from eventhub.delivery import messages
from eventhub.delivery.frame import Frame

READ_ONLY = "mode"
"""The cause that is the operators' own."""


class Degradation(NamedTuple):
    """One cause: what it affects, since when, and a sentence for people."""

    affected: tuple[str, ...]
    since: datetime
    reason: str


class Notices:
    """Causes of degradation on this node. `tell` hands a frame to every client that is connected."""

    def __init__(self, tell: Callable[[Frame], None]) -> None:
        self._tell = tell
        self._causes: dict[str, Degradation] = {}

    @property
    def mode(self) -> str:
        """`read_only` before `degraded` before `normal`."""
        if READ_ONLY in self._causes:
            return "read_only"
        return "degraded" if self._causes else "normal"

    @property
    def causes(self) -> dict[str, Degradation]:
        """What holds now, by cause."""
        return dict(self._causes)

    def enter(self, cause: str, affected: tuple[str, ...], since: datetime, reason: str) -> None:
        """A cause begins, or its words change; what is told already is not told again."""
        found = Degradation(affected, since, reason)
        if self._causes.get(cause) != found:
            self._causes[cause] = found
            self._tell(Frame([self._message(since, reason)]))

    def leave(self, cause: str, since: datetime, reason: str) -> None:
        """A cause is over, for this reason; ignored when it had not begun."""
        if self._causes.pop(cause, None) is not None:
            self._tell(Frame([self._message(since, reason)]))

    def standing(self) -> bytes | None:
        """The notice for a client that connects now; None when all is well."""
        if not self._causes:
            return None
        newest = max(self._causes.values(), key=lambda d: d.since)
        return self._message(newest.since, "; ".join(d.reason for d in self._causes.values()))

    def _message(self, since: datetime, reason: str) -> bytes:
        affected = dict.fromkeys(name for found in self._causes.values() for name in found.affected)
        return messages.notice(self.mode, list(affected), since, reason)
