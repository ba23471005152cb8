"""Sources: raw events as the adapters make them, with identity, fingerprint and tags."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from eventhub import topics
from eventhub.auth import Principal
from eventhub.events import KINDS, Action, Match, Player, RawEvent, Team
from eventhub.identity import fingerprint, identity
from eventhub.record import Outgoing, pack_tags
from tests.simulation.loop import FIRST_MS

BEGIN = datetime.fromtimestamp(FIRST_MS / 1000, UTC)
FAR = datetime(2100, 1, 1, tzinfo=UTC)
MATCHES = ("m0", "m1")
_encode = msgspec.json.Encoder().encode


class Wanted(NamedTuple):
    """An event as a plan names it: what the source's id, revision and content are."""

    source: str
    match_id: str
    type: str
    number: int
    revision: int = 0
    action: Action = "insert"
    content: int = 0
    team: str | None = None
    period: str | None = None
    clock_s: float | None = None

    @property
    def topic(self) -> str:
        """The raw topic that it goes to."""
        return topics.TRANSLATION if self.source == "translation" else topics.SOURCE_TOPIC[self.source]


LANGUAGES = ("de", "de-CH", "es")
"""Of translations, by their number."""


class Sent(NamedTuple):
    """One sending of an event: `number` counts sendings."""

    number: int
    topic: str
    match_id: str
    event_id: bytes
    fingerprint: bytes
    outgoing: Outgoing


def registry() -> dict[str, Match]:
    """Two matches that share a team."""
    players = [Player("p1", "One", "t0"), Player("p2", "Two", "t1"), Player("p3", "Three", "t2")]
    return {
        "m0": Match("m0", Team("t0", "Home"), Team("t1", "Away"), BEGIN, players),
        "m1": Match("m1", Team("t2", "Other"), Team("t0", "Home"), BEGIN, players),
    }


def build(number: int, wanted: Wanted, now_s: float) -> Sent:
    """The record of an event that is sent now."""
    who = identity(wanted.source, wanted.match_id, f"n{wanted.number}", wanted.revision, b"")
    now = BEGIN + timedelta(seconds=now_s)
    payload: dict[str, Any] = {"x": wanted.content}
    kind = KINDS[wanted.type]
    if wanted.source == "translation":
        payload["lang"] = LANGUAGES[wanted.number % len(LANGUAGES)]
        kind += f"/{payload['lang']}".encode()
    event = RawEvent(
        event_id=who.text,
        source=wanted.source,
        match_id=wanted.match_id,
        type=wanted.type,
        occurred_at=BEGIN,
        accepted_at=now,
        source_event_id=f"n{wanted.number}",
        revision=wanted.revision,
        action=wanted.action,
        of=who.of,
        team_id=wanted.team,
        player_id={"t0": "p1", "t1": "p2", "t2": "p3"}.get(wanted.team or ""),
        period=wanted.period,
        clock_s=wanted.clock_s,
        payload=msgspec.Raw(_encode(payload)),
    )
    print_ = fingerprint(_encode([wanted.number, wanted.revision, wanted.content]))
    headers = [("h", pack_tags(who.packed, print_, kind))]
    outgoing = Outgoing(wanted.match_id.encode(), _encode(event), headers)
    return Sent(number, wanted.topic, wanted.match_id, who.packed, print_, outgoing)


def check(token: str) -> Principal:
    """Every token is good."""
    return Principal(token, "free", FAR)
