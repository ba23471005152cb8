"""What enrichment remembers of one log partition: which ids are on the log, and each match's clock. Pure.

Ids are remembered for as long as ingest admits their like, and 10 minutes more, so that whatever passes admission is
recognised. Time here is the record's append time on Kafka, never a clock. What is too old to be recognised is refused
(`too_late`), not doubled: a match whose ids were dropped stays closed.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from eventhub import topics
from eventhub.events import Match
from eventhub.identity import FINGERPRINT_BYTES
from eventhub.record import Tags
from eventhub.windows import AFTER_FINAL_S, AHEAD_S, LATE_S, LONGEST_MATCH_S, SLACK_S

HOUR_MS = 3_600_000
EARLY_MS, SLACK_MS = 1000 * AHEAD_S, 1000 * SLACK_S
LONGEST_MATCH_MS, AFTER_FINAL_MS = 1000 * LONGEST_MATCH_S, 1000 * AFTER_FINAL_S
KEEP_CLOSED_MS = 31 * 24 * HOUR_MS
"""Longer than anything can wait on a raw topic or in the dead letters."""

WINDOW_MS: dict[str, int] = {
    topics.SENSORS: 1000 * LATE_S["sensors"],
    topics.SOCIAL: 1000 * LATE_S["social"],
    topics.TRANSLATION: 24 * HOUR_MS,
}
"""How late these may come; `broadcast` goes by the match, and state events by their cause."""


class Seen(NamedTuple):
    """An id on the log: the fingerprint of its bytes and when it was appended."""

    fingerprint: bytes
    at_ms: int


class MatchMemory(msgspec.Struct):
    """One match: its broadcast ids, its clock, its end, the cause of its last state event.

    An id has its fingerprint and behind it, between commas, every kind under which it and its revisions are on the log.
    """

    ids: dict[bytes, bytes] = {}
    period: str | None = None
    clock_s: float | None = None
    ended_ms: int | None = None
    last_ms: int = 0
    cause: int = -1


class Memory(msgspec.Struct):
    """All of one partition; encoded with msgpack into snapshots."""

    matches: dict[str, MatchMemory] = {}
    rolling: dict[str, dict[bytes, Seen]] = {}
    closed: dict[str, int] = {}

    def match(self, match_id: str) -> MatchMemory:
        """The match's part, begun on first use."""
        found = self.matches.get(match_id)
        if found is None:
            found = self.matches[match_id] = MatchMemory()
        return found

    def fingerprint(self, topic: str, match_id: str, event_id: bytes) -> bytes | None:
        """The fingerprint under which this id is on the log; None when it is not, as far as is remembered."""
        if topic == topics.BROADCAST:
            known = self._broadcast(match_id, event_id)
            return None if known is None else known[:FINGERPRINT_BYTES]
        seen = self.rolling.get(topic, {}).get(event_id)
        return seen.fingerprint if seen is not None else None

    def kinds(self, match_id: str, event_id: bytes) -> bytes:
        """The kinds, between commas, under which a broadcast event and its revisions are on the log; empty: unknown."""
        return (self._broadcast(match_id, event_id) or b"")[FINGERPRINT_BYTES:]

    def revise(self, match_id: str, first_id: bytes, kind: bytes) -> None:
        """A revision of the event with this id is now on the log, as this kind."""
        known = self._broadcast(match_id, first_id)
        kinds = (known or b"")[FINGERPRINT_BYTES:]
        if known is not None and kind not in kinds.split(b","):
            self.match(match_id).ids[first_id] = known + (b"," if kinds else b"") + kind

    def put(self, topic: str, match_id: str, tags: Tags, at_ms: int) -> None:
        """Remember what is now on the log."""
        event_id, fingerprint = tags.event_id, tags.fingerprint
        match = self.match(match_id)
        match.last_ms = max(match.last_ms, at_ms)
        if topic == topics.BROADCAST:
            match.ids[event_id] = fingerprint + tags.kind
        elif topic in WINDOW_MS:
            self.rolling.setdefault(topic, {})[event_id] = Seen(fingerprint, at_ms)

    def _broadcast(self, match_id: str, event_id: bytes) -> bytes | None:
        match = self.matches.get(match_id)
        return match.ids.get(event_id) if match is not None else None

    def forget(self, now_ms: int, registry: Mapping[str, Match]) -> None:
        """Drop what no admissible event can repeat any more; `now_ms` is the newest append time."""
        for topic, seen in self.rolling.items():
            horizon = now_ms - WINDOW_MS[topic] - EARLY_MS - SLACK_MS
            for event_id in [i for i, s in seen.items() if s.at_ms < horizon]:
                del seen[event_id]
        for match_id, match in list(self.matches.items()):
            if now_ms > closes_ms(match, registry.get(match_id)) + SLACK_MS:
                del self.matches[match_id]
                self.closed[match_id] = now_ms
        for match_id in [m for m, at_ms in self.closed.items() if now_ms - at_ms > KEEP_CLOSED_MS]:
            del self.closed[match_id]

    def is_closed(self, match: Match) -> bool:
        """True when the match's ids were dropped and it was not declared anew with a later start since."""
        closed_ms = self.closed.get(match.match_id)
        return closed_ms is not None and match.starts_at.timestamp() * 1000 <= closed_ms


def closes_ms(memory: MatchMemory, match: Match | None) -> float:
    """When ingest stops admitting broadcast events of a match: 6 h after its end, scheduled or real or last heard."""
    scheduled = match.starts_at.timestamp() * 1000 + LONGEST_MATCH_MS if match is not None else 0.0
    return max(scheduled, memory.ended_ms or 0, memory.last_ms) + AFTER_FINAL_MS


def dump(memory: Memory) -> bytes:
    """The snapshot's bytes."""
    return msgspec.msgpack.encode(memory)


def load(packed: bytes) -> Memory:
    """The opposite of `dump`."""
    return msgspec.msgpack.decode(packed, type=Memory)
