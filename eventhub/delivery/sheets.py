"""Match sheets: the latest state of each match and the last log offset folded into it.

From the seeds that aggregation left, then from the `state` events on the log. The cursor of a sheet is its cause: the
last offset folded into the state, never the state event's own offset, for events between the two are not in it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import structlog

from eventhub.delivery.cursor import Cursor
from eventhub.delivery.ports import Log, Registry, Seed
from eventhub.events import Match, Team
from eventhub.record import LogRecord

log = structlog.get_logger(__name__)


class _Payload(msgspec.Struct):
    sheet: msgspec.Raw
    cause: int


class _State(msgspec.Struct):
    payload: _Payload


_decode_state = msgspec.json.Decoder(_State).decode


class Sheet(NamedTuple):
    """A match sheet as clients get it (JSON, with cursor and stale), its status, and the last offset folded into it."""

    body: bytes
    status: str
    applied: int


class Sheets:
    """The sheet of every declared match."""

    def __init__(self, source: Log, registry: Registry) -> None:
        self._epoch = source.epoch
        self._partition_of = source.partition_of
        self._registry = registry
        self._held: dict[str, Seed] = {}
        self._applied: dict[int, int] = {}
        self._at: dict[str, int] = {}
        self._start: dict[int, int] = {}
        self._built: dict[str, tuple[Seed, Sheet]] = {}

    def seed(self, seeds: dict[str, Seed], applied: dict[int, int]) -> None:
        """Start from what aggregation left: `applied` is its last offset per partition (-1: none)."""
        self._held, self._applied = dict(seeds), dict(applied)

    def begin(self, start: Mapping[int, int]) -> None:
        """Per partition the first offset from which on every state event is folded."""
        self._start = dict(start)

    def place(self, match_id: str) -> int:
        """The log offset of the state event that the sheet is from.

        Where that lies before what was read here, the last offset that does: it is no higher than that.
        """
        at = self._at.get(match_id)
        return self._start[self._partition_of(match_id)] - 1 if at is None else at

    def fold(self, record: LogRecord) -> None:
        """Take a `state` event. One that is not ahead of the held state is ignored; a malformed one is logged."""
        try:
            state = _decode_state(record.value or b"").payload
        except msgspec.DecodeError as error:
            log.error("state event cannot be read", partition=record.partition, offset=record.offset, error=str(error))
            return
        held = self._held.get(record.match_id)
        if held is None or state.cause > held.applied:
            self._held[record.match_id] = Seed(bytes(state.sheet), state.cause)
            self._at[record.match_id] = record.offset

    def of(self, match_id: str) -> Sheet:
        """The sheet of a declared match; built once per state. A match without a state is scheduled, 0-0.

        Raises KeyError for a match that is not declared.
        """
        held = self._held.get(match_id)
        if held is None:
            # Aggregation had applied this far and made no state of the match, so nothing of it lies below.
            applied = self._applied.get(self._partition_of(match_id), -1)
            return self._build(match_id, _scheduled(self._registry[match_id]), applied)
        built = self._built.get(match_id)
        if built is None or built[0] is not held:
            built = (held, self._build(match_id, msgspec.json.decode(held.sheet), held.applied))
            self._built[match_id] = built
        return built[1]

    def _build(self, match_id: str, sheet: dict[str, Any], applied: int) -> Sheet:
        sheet["cursor"] = str(Cursor(self._epoch, {self._partition_of(match_id): applied}))
        sheet["stale"] = False
        return Sheet(msgspec.json.encode(sheet), str(sheet.get("status")), applied)


def _scheduled(match: Match) -> dict[str, Any]:
    return {
        "match_id": match.match_id,
        "status": "scheduled",
        "period": None,
        "clock_s": None,
        "minute": None,
        "home": _side(match.home),
        "away": _side(match.away),
        "incidents": [],
    }


def _side(team: Team) -> dict[str, Any]:
    counts = {"score": 0, "shots": 0, "yellow_cards": 0, "red_cards": 0}
    return {"id": team.id, "name": team.name, **counts, "possession": None}
