"""What an undisturbed run of the same log gives: the log folded anew, without a process that could die.

The rule is the product's own (`eventhub.streams.sheet`); what is judged is that faults change nothing of its result.
"""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from eventhub.events import Match, Team
from eventhub.streams import sheet
from eventhub.streams.aggregation import EMIT_EVERY_MS
from tests.drills.submissions import AWAY, HOME

Rows = list[tuple[int, bytes]]
"""A match's records of the log: offset and value."""


class _Dated(sheet.Seen, kw_only=True):
    accepted_at: datetime
    payload: dict[str, Any] = {}


class Undisturbed(NamedTuple):
    """Of one match: its state events in order, each as cause and sheet, and its sheet at the end."""

    states: list[tuple[int, Any]]
    final: Any


_read = msgspec.json.Decoder(_Dated).decode


def fold(match_id: str, rows: Rows) -> Undisturbed:
    """What follows from a match's records, in one go."""
    match = Match(match_id, Team(HOME, "Reds"), Team(AWAY, "Blues"), datetime.now(UTC))
    folded, emitted_ms = sheet.begin(match), 0
    states: list[tuple[int, Any]] = []
    for offset, value in rows:
        event = _read(value)
        change = sheet.apply(folded, event)
        accepted_ms = int(event.accepted_at.timestamp() * 1000)
        if change == "key" or (change == "other" and accepted_ms - emitted_ms >= EMIT_EVERY_MS):
            emitted_ms = accepted_ms
            states.append((offset, _plain(sheet.sheet(folded, match))))
    return Undisturbed(states, _plain(sheet.sheet(folded, match)))


def found(rows: Rows) -> list[tuple[int, Any]]:
    """The state events that are really on the log, in its order."""
    events = (_read(value) for _, value in rows)
    return [(event.payload["cause"], event.payload["sheet"]) for event in events if event.type == "state"]


def _plain(value: Any) -> Any:
    """As it comes back from the wire."""
    return msgspec.json.decode(msgspec.json.encode(value))
