"""The vocabulary: event types, periods, and every value that crosses a module boundary.

No other file lists types. Names follow the Common Data Format of football analytics (arXiv 2505.15820).
"""

from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

Lane = Literal["critical", "normal", "bulk"]
Effect = Literal["none", "score", "card", "shot", "period", "derived"]
Action = Literal["insert", "update", "delete"]
Source = Literal["sensors", "broadcast", "social"]
Status = Literal[
    "scheduled",
    "delayed",
    "live",
    "break",
    "interrupted",
    "suspended",
    "postponed",
    "cancelled",
    "abandoned",
    "final",
]


class EventType(NamedTuple):
    """One row of the vocabulary: `payload` maps a field to its meaning and unit."""

    name: str
    lane: Lane
    effect: Effect
    sources: tuple[str, ...]
    payload: dict[str, str]


class Period(NamedTuple):
    """A period's first second on the match clock and its regular length, in seconds."""

    name: str
    begins_s: int
    length_s: int


PERIODS: dict[str, Period] = {
    p.name: p
    for p in (
        Period("first_half", 0, 2700),
        Period("second_half", 2700, 2700),
        Period("first_half_extratime", 5400, 900),
        Period("second_half_extratime", 6300, 900),
        Period("shootout", 7200, 0),
    )
}

_B = ("broadcast",)
_XY = {"x": "metres, home side attacks +x", "y": "metres", "end_x": "metres", "end_y": "metres"}
_BODY = {"body_part": "left_foot | right_foot | head"}
_DERIVED = ("translation", "stats")

TYPES: dict[str, EventType] = {
    t.name: t
    for t in (
        EventType("goal", "critical", "score", _B, {**_XY, **_BODY, "sub_type": "null | free_kick | penalty_kick"}),
        EventType("own_goal", "critical", "score", _B, {**_XY, **_BODY}),
        EventType("red_card", "critical", "card", _B, {**_XY, "sub_type": "kind of foul"}),
        EventType("second_yellow_card", "critical", "card", _B, {**_XY, "sub_type": "kind of foul"}),
        EventType("yellow_card", "critical", "card", _B, {**_XY, "sub_type": "kind of foul"}),
        EventType("penalty_awarded", "critical", "none", _B, _XY),
        EventType("var_review", "critical", "none", _B, {"decision": "text"}),
        EventType("substitution", "critical", "none", _B, {"player_in_id": "id", "player_out_id": "id"}),
        EventType("period_start", "critical", "period", _B, {}),
        EventType("period_end", "critical", "period", _B, {}),
        EventType("match_end", "critical", "period", _B, {}),
        EventType(
            "pass",
            "normal",
            "none",
            _B,
            {**_XY, **_BODY, "sub_type": "kind of pass", "accurate": "bool", "assist": "bool"},
        ),
        EventType("shot", "normal", "shot", _B, {**_XY, **_BODY, "sub_type": "kind", "outcome": "where it went"}),
        EventType("save", "normal", "none", _B, {**_XY, "sub_type": "save | save_attempt"}),
        EventType("foul", "normal", "none", _B, {**_XY, "sub_type": "kind of foul"}),
        EventType("offside", "normal", "none", _B, _XY),
        EventType("duel", "normal", "none", _B, {**_XY, "sub_type": "aerial | ground | loose_ball", "outcome": "text"}),
        EventType("clearance", "normal", "none", _B, _XY),
        EventType("interception", "normal", "none", _B, _XY),
        EventType("carry", "normal", "none", _B, _XY),
        EventType("touch", "normal", "none", _B, _XY),
        EventType("keeper_leaving_line", "normal", "none", _B, _XY),
        EventType("ball_out", "normal", "none", _B, _XY),
        EventType("whistle", "normal", "none", _B, _XY),
        EventType("post", "normal", "none", ("social",), {"text": "text", "lang": "BCP 47", "author": "handle"}),
        EventType("translation", "normal", "derived", _DERIVED, {"lang": "BCP 47", "text": "text"}),
        EventType("state", "normal", "derived", _DERIVED, {"sheet": "match sheet", "cause": "log offset"}),
        EventType("stats", "bulk", "derived", _DERIVED, {"window_s": "seconds"}),
        EventType(
            "tracking_frame",
            "bulk",
            "none",
            ("sensors",),
            {"players": "[[player_id, x, y]] in metres", "ball": "[x, y] in metres"},
        ),
    )
}
"""Every event type; lanes are VOCABULARY.md's. A `state` without score, card or period change travels as bulk."""


KINDS: dict[str, bytes] = {t.name: f"{t.lane[0]}:{t.name}".encode() for t in TYPES.values()}
"""The kind of each type as records carry it: lane letter, colon, type."""


class Team(msgspec.Struct, frozen=True, omit_defaults=True):
    """A side of a match."""

    id: str
    name: str


class Player(msgspec.Struct, frozen=True, omit_defaults=True):
    """A player of one of the two sides."""

    id: str
    name: str
    team_id: str


class Match(msgspec.Struct, frozen=True, omit_defaults=True):
    """A declared match: the value of `match-registry`, key match_id."""

    match_id: str
    home: Team
    away: Team
    starts_at: datetime
    players: list[Player] = []
    competition: str | None = None
    sport: str = "football"
    delay_s: float = 0
    """How much later than it happens the match may be seen, by anyone."""

    def team(self, team_id: str | None) -> Team | None:
        """The side of this id, or None."""
        if team_id == self.home.id:
            return self.home
        return self.away if team_id == self.away.id else None


ID_CHARS = 200
"""The longest id of a match, a team or a player; ids are printable too."""
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Incoming(msgspec.Struct, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """A canonical event as a source sends it, or as an adapter maps it (INTERFACE.md)."""

    match_id: Name
    type: str
    occurred_at: Moment
    source_event_id: Name | None = None
    revision: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    action: Action = "insert"
    team_id: Name | None = None
    player_id: Name | None = None
    period: str | None = None
    clock_s: Annotated[float, msgspec.Meta(ge=0, le=20_000)] | None = None
    payload: dict[str, Any] = {}


class RawEvent(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The value of a raw topic: an admitted event with its identity. Its fingerprint travels in the header `f`."""

    event_id: str
    source: str
    match_id: str
    type: str
    occurred_at: datetime
    accepted_at: datetime
    source_event_id: str | None = None
    revision: int = 0
    action: Action = "insert"
    of: str | None = None
    team_id: str | None = None
    player_id: str | None = None
    period: str | None = None
    clock_s: float | None = None
    payload: msgspec.Raw = msgspec.Raw(b"{}")


class Event(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The value of the log, sent to clients byte for byte. Field order is what a person reads first."""

    event_id: str
    type: str
    match_id: str
    source: str
    lane: Lane
    occurred_at: datetime
    accepted_at: datetime
    period: str | None = None
    clock_s: float | None = None
    minute: str | None = None
    team_id: str | None = None
    team: str | None = None
    player_id: str | None = None
    player: str | None = None
    source_event_id: str | None = None
    revision: int = 0
    action: Action = "insert"
    of: str | None = None
    payload: msgspec.Raw = msgspec.Raw(b"{}")


def minute(period: str | None, clock_s: float | None) -> str | None:
    """The minute as people say it: the 1st minute runs from second 0; stoppage time is `45+2`.

    `clock_s` is in match seconds, periods begin at PERIODS' seconds. None where there is no clock, or in a shoot-out.
    """
    if period is None or clock_s is None or period == "shootout" or period not in PERIODS:
        return None
    p = PERIODS[period]
    end_s = p.begins_s + p.length_s
    if clock_s < end_s:
        return str(int(clock_s) // 60 + 1)
    return f"{end_s // 60}+{(int(clock_s) - end_s) // 60 + 1}"
