"""Every message of the stream with an example, in the order in which a client meets them. Tests decode each example."""

from typing import Any, Literal, NamedTuple

from eventhub.delivery import messages
from eventhub.documents import frames

WORD = "eyJ…"
"""An access token; a real one is longer."""
CURSOR = "5e1c0a9d.3:1041"
LATER = "5e1c0a9d.3:1042"
AT = "2026-05-30T19:12:07.250Z"
SHEET: dict[str, Any] = {
    "match_id": "final",
    "status": "live",
    "period": "first_half",
    "clock_s": 1621.4,
    "minute": "28",
    "home": {"id": "reds", "name": "Reds", "score": 1, "shots": 4, "yellow_cards": 0, "red_cards": 0, "possession": 55},
    "away": {
        "id": "blues",
        "name": "Blues",
        "score": 0,
        "shots": 2,
        "yellow_cards": 1,
        "red_cards": 0,
        "possession": 45,
    },
    "incidents": [],
    "cursor": CURSOR,
    "stale": False,
}
GOAL: dict[str, Any] = {
    "event_id": "0b54c1d2-6f0e-8a2b-9c3d-2f1e0d9c8b7a",
    "type": "goal",
    "match_id": "final",
    "source": "broadcast",
    "lane": "critical",
    "occurred_at": AT,
    "accepted_at": AT,
    "period": "first_half",
    "clock_s": 1621.4,
    "minute": "28",
    "team_id": "reds",
    "team": "Reds",
}


class Message(NamedTuple):
    """One message: who says it, its struct, and an example."""

    by: Literal["client", "node"]
    shape: Any
    example: dict[str, Any]

    @property
    def name(self) -> str:
        """Its `type`."""
        return str(self.example["type"])

    @property
    def meaning(self) -> str:
        """What it is for, in the words of its struct."""
        return " ".join((self.shape.__doc__ or "").split())


def _client(shape: Any, **fields: Any) -> Message:
    return Message("client", shape, fields)


def _node(shape: Any, **fields: Any) -> Message:
    return Message("node", shape, fields)


def _of(channel: str, cursor: str) -> dict[str, str]:
    return {"channel": channel, "cursor": cursor}


MATCH = "match:final"
MESSAGES: tuple[Message, ...] = (
    _client(messages.Connect, id=1, type="connect", token=WORD),
    _node(
        frames.Connected,
        id=1,
        type="connected",
        session="9f8e7d6c",
        node="stadium-1-0",
        ping_s=15,
        mode="normal",
        limits={
            "teams": 10,
            "matches": 1_000,
            "message_bytes": 65_536,
            "changes_per_minute": 5.0,
            "changes_burst": 10,
            "commands_per_s": 10.0,
            "commands_burst": 100,
            "connections_per_address": 200,
            "connections_per_user": 100,
            "connections_per_address_total": 1000,
            "connections_per_user_total": 100,
        },
    ),
    _client(messages.Subscribe, id=2, type="subscribe", channel=MATCH, lanes=["critical", "normal"], languages=["de"]),
    _client(messages.Subscribe, id=3, type="subscribe", channels=[_of(MATCH, CURSOR), {"channel": "match:other"}]),
    _node(
        frames.Subscribed,
        id=2,
        type="subscribed",
        **_of(MATCH, CURSOR),
        recovered=True,
        view={"lanes": ["critical", "normal"], "types": None, "languages": ["de"]},
        delay_s=0,
    ),
    _node(frames.State, type="state", **_of(MATCH, CURSOR), state=SHEET),
    _node(frames.StreamEvent, type="event", **_of(MATCH, LATER), event=GOAL),
    _node(frames.Reset, type="reset", **_of(MATCH, LATER), reason="gone", state=SHEET),
    _node(frames.Skipped, type="skipped", channel=MATCH, lane="bulk", count=120, to=LATER, **{"from": CURSOR}),
    _node(frames.Notice, type="notice", mode="degraded", affected=["history"], since=AT, reason="PostgreSQL is away"),
    _node(frames.Heartbeat, type="heartbeat", server_time=AT, cursors={MATCH: LATER}),
    _client(messages.Refresh, id=4, type="refresh", token=WORD),
    _node(frames.Refreshed, id=4, type="refreshed", expires_at=AT),
    _client(messages.Unsubscribe, id=5, type="unsubscribe", channel=MATCH),
    _node(frames.Unsubscribed, id=5, type="unsubscribed", channel=MATCH),
    _node(frames.Reconnect, type="reconnect", in_ms=2_400, cursors={MATCH: LATER}),
    _node(
        frames.Error,
        id=3,
        type="error",
        code="unknown_channel",
        message="there is no match 'other'; GET /v1/matches lists them",
        channel="match:other",
    ),
)
