"""Step 2 of the path, the rule: a raw event becomes an event of the log, a duplicate, or a dead letter. Pure.

Log order decides: the first record of an id and revision stands, the same bytes again are dropped, other bytes are a
conflict and go to the dead letters. Derived events (state, translation) have ids made from their cause; of those the
first wins, without a conflict.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from eventhub import record, topics
from eventhub.events import TYPES, Event, Lane, Match, RawEvent, minute
from eventhub.identity import packed
from eventhub.record import Tags
from eventhub.streams.memory import SLACK_MS, WINDOW_MS, Memory

DERIVED = frozenset((topics.TRANSLATION, topics.STATS))
_LANES: dict[str, Lane] = {"c": "critical", "n": "normal", "b": "bulk"}


class Consumed(NamedTuple):
    """A raw record as it was consumed."""

    topic: str
    offset: int
    value: bytes | None
    head: bytes
    appended_ms: int


class Enriched(NamedTuple):
    """What goes onto the log: value and tags; the vector before them is the owner's to add."""

    match_id: str
    value: bytes
    tags: bytes


class Dead(NamedTuple):
    """What goes to the dead letters: a code of ITEM_CODES and a sentence."""

    code: str
    detail: str


class _Clock(msgspec.Struct):
    """The part of a log event that the match clock follows from, and what it revises."""

    type: str
    period: str | None = None
    clock_s: float | None = None
    of: str | None = None


class Enricher:
    """Applies the rule record by record to one partition's memory. No I/O; time is the record's append time."""

    def __init__(self, registry: Mapping[str, Match], memory: Memory) -> None:
        self.memory = memory
        self._registry = registry
        self._players: dict[str, tuple[Match, dict[str, str]]] = {}
        self._decode = msgspec.json.Decoder(RawEvent).decode
        self._encode = msgspec.json.Encoder().encode
        self._clock = msgspec.json.Decoder(_Clock).decode

    def step(self, raw: Consumed) -> Enriched | Dead | None:
        """Decide about one raw record; None drops it as a duplicate. Remembers what it puts on the log."""
        try:
            event = self._decode(raw.value or b"")
        except msgspec.MsgspecError as error:
            return Dead("malformed", f"not a raw event: {error}")
        match = self._registry.get(event.match_id)
        if match is None:
            return Dead("unknown_match", f"match {event.match_id!r} was not declared; declare it, then replay")
        if event.type not in TYPES:
            return Dead("unknown_type", f"type {event.type!r} is not in this version's vocabulary")
        tags = record.raw_tags(raw.head)
        refusal = self._refuse(raw, event, tags, match)
        if refusal is not None:
            return refusal if isinstance(refusal, Dead) else None
        value = self._encode(self._enrich(event, match, tags.kind))
        self._tick(raw.topic, event.match_id, raw.appended_ms, event.type, event.period, event.clock_s)
        first = packed(event.of) if event.of is not None else b""
        revises = self.memory.kinds(event.match_id, first)
        # Last: what fails above is not on the log, and must not count as a duplicate when it is sent again.
        self._remember(raw.topic, event.match_id, tags, first, raw.appended_ms)
        return Enriched(event.match_id, value, record.pack_revises(raw.head, revises))

    def fold(self, topic: str, match_id: str, value: bytes, tags: Tags, appended_ms: int) -> None:
        """Remember a record that is on the log already and came from `topic`; used when the state is rebuilt."""
        first = b""
        if topic == topics.BROADCAST:
            clock = self._clock(value)
            self._tick(topic, match_id, appended_ms, clock.type, clock.period, clock.clock_s)
            first = packed(clock.of) if clock.of is not None else b""
        self._remember(topic, match_id, tags, first, appended_ms)

    def _refuse(self, raw: Consumed, event: RawEvent, tags: Tags, match: Match) -> Dead | bool | None:
        """A dead letter, True for a duplicate, None when the event may pass."""
        known = self.memory.fingerprint(raw.topic, event.match_id, tags.event_id)
        if known is not None:
            if known == tags.fingerprint or raw.topic in DERIVED:
                return True
            return Dead(
                "id_conflict", f"event {event.event_id} revision {event.revision} is on the log with other bytes"
            )
        if raw.topic == topics.BROADCAST and self.memory.is_closed(match):
            return Dead("too_late", f"match {event.match_id} is over and its ids are no longer remembered")
        if raw.topic in WINDOW_MS and raw.topic not in DERIVED:
            late_ms = raw.appended_ms - event.occurred_at.timestamp() * 1000
            if late_ms > WINDOW_MS[raw.topic] + SLACK_MS:
                return Dead("too_late", f"it waited {late_ms / 1000:.0f} s before it reached {raw.topic}")
        if raw.topic == topics.STATS and tags.cause >= 0:
            return tags.cause <= self.memory.match(event.match_id).cause or None
        return None

    def _remember(self, topic: str, match_id: str, tags: Tags, first: bytes, at_ms: int) -> None:
        self.memory.put(topic, match_id, tags, at_ms)
        if first:
            self.memory.revise(match_id, first, tags.kind)
        if tags.cause >= 0:
            match = self.memory.match(match_id)
            match.cause = max(match.cause, tags.cause)

    def _tick(
        self, topic: str, match_id: str, at_ms: int, kind: str, period: str | None, clock_s: float | None
    ) -> None:
        if topic != topics.BROADCAST:
            return
        match = self.memory.match(match_id)
        if period is not None and clock_s is not None:
            match.period, match.clock_s = period, clock_s
        if kind == "match_end":
            match.ended_ms = at_ms

    def _enrich(self, event: RawEvent, match: Match, kind: bytes) -> Event:
        period, clock_s = event.period, event.clock_s
        if period is None:
            clock = self.memory.match(event.match_id)
            period, clock_s = clock.period, clock.clock_s
        team = match.team(event.team_id)
        return Event(
            event_id=event.event_id,
            type=event.type,
            match_id=event.match_id,
            source=event.source,
            lane=_LANES[chr(kind[0])],
            occurred_at=event.occurred_at,
            accepted_at=event.accepted_at,
            period=period,
            clock_s=clock_s,
            minute=minute(period, clock_s),
            team_id=event.team_id,
            team=team.name if team is not None else None,
            player_id=event.player_id,
            player=self._player(match, event.player_id),
            source_event_id=event.source_event_id,
            revision=event.revision,
            action=event.action,
            of=event.of,
            payload=event.payload,
        )

    def _player(self, match: Match, player_id: str | None) -> str | None:
        if player_id is None:
            return None
        known = self._players.get(match.match_id)
        if known is None or known[0] is not match:
            known = self._players[match.match_id] = (match, {p.id: p.name for p in match.players})
        return known[1].get(player_id)
