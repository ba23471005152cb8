"""What every client must have heard: its subscription's events once, in log order, or an explicit reset."""

from typing import TYPE_CHECKING, Any

import msgspec

from eventhub import record
from eventhub.delivery.cursor import parse
from eventhub.streams import sheet
from eventhub.streams.aggregation import IGNORED, _Folded
from tests.simulation.broker import Record
from tests.simulation.model import events_of, id_of
from tests.simulation.watcher import Told, Watcher

if TYPE_CHECKING:
    from tests.simulation.world import World

_LETTER = {"critical": "c", "normal": "n", "bulk": "b"}


def check_client(world: "World", watcher: Watcher) -> None:
    """Raise AssertionError where what it was told does not follow from the log."""
    ear = _Ear(world, watcher)
    for told in watcher.told:
        getattr(ear, f"_{told.kind}")(told)
    ear.finish()


class _Value(msgspec.Struct):
    event_id: str
    type: str
    lane: str
    payload: dict[str, Any]
    of: str | None = None


_value = msgspec.json.Decoder(_Value).decode


def passing(events: list[Record], watcher: Watcher) -> list[Record]:
    """What of a match the client is due, by the values alone: its lanes, its languages, and what revises those."""
    shown: dict[str, set[str]] = {}
    found = []
    for one in events:
        event = _value(one.value or b"")
        # A revision that comes before what it revises stands for itself.
        lanes = shown.get(event.of, set()) if event.of is not None else shown.setdefault(event.event_id, set())
        lanes.add(event.lane)
        spoken = event.type != "translation" or _speaks(watcher.languages, event.payload["lang"])
        if spoken and (not watcher.lanes or lanes & {*watcher.lanes}):
            found.append(one)
    return found


def _speaks(languages: list[str], language: str) -> bool:
    return any(one == "*" or language.split("-")[0] == one for one in languages)


class _Leave:
    """What a client was told it does not get: so many events of a lane, from one offset of a partition to another."""

    def __init__(self, told: Told) -> None:
        assert told.cursor is not None
        self.letter, self.left = _LETTER[told.lane], told.events
        self._first, self._last = parse(told.first).seen, parse(told.cursor).seen

    def holds_for(self, partition: int, one: Record) -> bool:
        """Whether this event is one of them."""
        kind = record.kind(record.head(one.headers)).decode()
        within = self._first[partition] <= one.offset <= self._last[partition]
        return within and kind[0] == self.letter and self.left > 0


class _Ear:
    """Walks through what a client was told, with the place in each match up to which it knows everything."""

    def __init__(self, world: "World", watcher: Watcher) -> None:
        self._world, self._name = world, watcher.name
        kind, _, subject = watcher.channel.partition(":")
        teams = {m: (match.home.id, match.away.id) for m, match in world.registry.items()}
        self._matches = [m for m in world.registry if (m == subject if kind == "match" else subject in teams[m])]
        self._wanted = {m: passing(events_of(world, m), watcher) for m in self._matches}
        self._asked_for = {(m, one.offset) for m, wanted in self._wanted.items() for one in wanted}
        self._match_of = {_text(id_of(one)): (m, one.offset) for m in self._matches for one in events_of(world, m)}
        self._at: dict[str, int] | None = None
        self._heard: set[str] = set()
        self._leaves: list[_Leave] = []
        self._left_out: set[tuple[str, int]] = set()

    def finish(self) -> None:
        """Nothing is left, and nothing was said to be left out that came."""
        self._no_leave()
        assert self._at is not None, f"{self._name} was never told where it is"
        for match_id, wanted in self._wanted.items():
            left = [one.offset for one in wanted if one.offset > self._at[match_id]]
            left = [offset for offset in left if (match_id, offset) not in self._left_out]
            assert not left, f"{self._name} never got offsets {left[:5]} of {match_id}"

    def _skipped(self, told: Told) -> None:
        assert told.lane != "critical", f"{self._name} was told that critical events are left out"
        self._leaves.append(_Leave(told))

    def _no_leave(self) -> None:
        unused = [(one.letter, one.left) for one in self._leaves if one.left]
        assert not unused, f"{self._name} was told that {unused} are left out, and they came"
        self._leaves.clear()

    def _missing(self, match_id: str, after: int, end: int) -> list[int]:
        """Of the match's events above `after` and below `end` those that nobody said are left out."""
        partition, missing = self._world.partitioner(match_id), []
        for one in self._wanted[match_id]:
            if after < one.offset < end and (match_id, one.offset) not in self._left_out:
                leave = next((leave for leave in self._leaves if leave.holds_for(partition, one)), None)
                if leave is None:
                    missing.append(one.offset)
                else:
                    leave.left -= 1
                    self._left_out.add((match_id, one.offset))
        return missing

    def _begin(self, told: Told) -> None:
        # What was announced may have been lost with the connection.
        self._leaves.clear()
        if told.cursor is not None:
            self._place(told.cursor)
        elif told.event_id == "start":
            self._at = dict.fromkeys(self._matches, -1)
            self._heard.clear()
        else:
            self._at = None
            self._heard.clear()

    def _event(self, told: Told) -> None:
        assert self._at is not None, f"{self._name} got an event before it was told where it is"
        found = self._match_of.get(told.event_id)
        assert found is not None, f"{self._name} got {told.event_id}, which is not of its subscription"
        match_id, offset = found
        assert found in self._asked_for, f"{self._name} got offset {offset} of {match_id}, which its view leaves out"
        following = self._missing(match_id, self._at[match_id], offset)
        assert told.event_id not in self._heard, f"{self._name} got offset {offset} of {match_id} twice"
        assert not following and offset > self._at[match_id], (
            f"{self._name} got offset {offset} of {match_id}, wanted was {following[:1]} after {self._at[match_id]}"
        )
        self._heard.add(told.event_id)
        self._at[match_id] = offset
        self._covers(told)
        assert told.cursor is not None
        partition = self._world.partitioner(match_id)
        assert parse(told.cursor).seen[partition] == offset, f"the cursor {told.cursor} is not that of offset {offset}"

    def _cursor(self, told: Told) -> None:
        if self._at is not None:
            self._covers(told)

    def _state(self, told: Told) -> None:
        self._sheet(told.sheet)
        match_id = told.sheet["match_id"]
        if self._leaves and self._at is not None:
            # It stands in for what was left out before it; nothing else may be missing.
            missing = self._missing(match_id, self._at[match_id], self._applied(told.sheet) + 1)
            assert not missing, f"{self._name} got a state in place of {missing} of {match_id}, which it was not told"
        self._at = {**(self._at or {}), told.sheet["match_id"]: self._applied(told.sheet)}

    def _reset(self, told: Told) -> None:
        self._heard.clear()
        self._at = None
        self._state(told)

    def _covers(self, told: Told) -> None:
        """A cursor says that everything up to it was sent."""
        assert told.cursor is not None and self._at is not None
        for partition, offset in parse(told.cursor).seen.items():
            for match_id, at in self._at.items():
                if self._world.partitioner(match_id) == partition:
                    skipped = self._missing(match_id, at, offset + 1)
                    assert not skipped, f"{self._name}: cursor {told.cursor} skips offsets {skipped} of {match_id}"

    def _place(self, cursor: str) -> None:
        """It asks to go on after this cursor, which may lie before a state that it was given."""
        seen = parse(cursor).seen
        self._at = {m: seen.get(self._world.partitioner(m), -1) for m in self._matches}

    def _applied(self, given: dict[str, Any]) -> int:
        return parse(given["cursor"]).seen[self._world.partitioner(given["match_id"])]

    def _sheet(self, given: dict[str, Any]) -> None:
        """A state holds everything up to its cursor, and nothing more."""
        match_id, applied = given["match_id"], self._applied(given)
        match = self._world.registry[match_id]
        fold = sheet.begin(match)
        for one in events_of(self._world, match_id):
            if one.offset <= applied and record.kind(record.head(one.headers)) not in IGNORED:
                sheet.apply(fold, msgspec.json.decode(one.value or b"", type=_Folded))
        wanted = msgspec.json.decode(msgspec.json.encode(sheet.sheet(fold, match)))
        shown = {key: value for key, value in given.items() if key not in ("cursor", "stale")}
        assert _plain(shown) == _plain(wanted), (
            f"{self._name}: the state of {match_id} at {applied} is {shown}, wanted is {wanted}"
        )


def _plain(shown: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in shown.items() if key != "possession"}


def _text(packed: bytes) -> str:
    digits = packed.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
