"""Wyscout v2: one record becomes one event. The table is VOCABULARY.md's; the rule is the strongest thing said.

The order of precedence: own goal, goal, red card, second yellow, yellow card, then the record's own kind. Coordinates
come as percent of the pitch in the acting team's view, origin top left.
"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from eventhub.errors import MalformedError, RejectedError
from eventhub.events import PERIODS, Incoming, Match, Source
from eventhub.ingest.adapters import Feed
from eventhub.ingest.adapters.reading import UNREADABLE, Count, check_clock, decode, whole

PERIOD = {
    "1H": "first_half",
    "2H": "second_half",
    "E1": "first_half_extratime",
    "E2": "second_half_extratime",
    "P": "shootout",
}
GOAL, OWN_GOAL, INTERCEPTION, CLEARANCE = 101, 102, 1401, 1501
CARDS = {1701: "red_card", 1703: "second_yellow_card", 1702: "yellow_card"}
STRONG = frozenset((OWN_GOAL, GOAL, *CARDS))
FACTS: dict[int, tuple[str, Any]] = {
    401: ("body_part", "left_foot"),
    402: ("body_part", "right_foot"),
    403: ("body_part", "head"),
    301: ("assist", True),
    302: ("key_pass", True),
    1601: ("tackle", True),
    1901: ("counter_attack", True),
}
"""Tags that say the same of every kind of event: field and value."""
OUTCOMES: dict[str, dict[int, tuple[str, Any]]] = {
    "pass": {1801: ("accurate", True), 1802: ("accurate", False)},
    "duel": {703: ("outcome", "won"), 701: ("outcome", "lost"), 702: ("outcome", "neutral")},
    "shot": {
        **dict.fromkeys(range(1201, 1210), ("outcome", "on_target")),
        **dict.fromkeys(range(1210, 1217), ("outcome", "wide")),
        **dict.fromkeys(range(1217, 1224), ("outcome", "woodwork")),
        2101: ("outcome", "blocked"),
    },
}
"""Tags that say how an event of one kind ended; a goal is its own outcome."""
FACTS_OF = {kind: FACTS | outcomes for kind, outcomes in OUTCOMES.items()}


class Kind(NamedTuple):
    """What a Wyscout sub-event is in the vocabulary."""

    type: str
    sub_type: str | None = None


KINDS: dict[int, Kind] = {
    100: Kind("shot"),
    33: Kind("shot", "free_kick"),
    35: Kind("shot", "penalty_kick"),
    90: Kind("save", "save"),
    91: Kind("save", "save_attempt"),
    20: Kind("foul"),
    21: Kind("foul", "hand"),
    22: Kind("foul", "late_card"),
    23: Kind("foul", "out_of_game"),
    24: Kind("foul", "protest"),
    25: Kind("foul", "simulation"),
    26: Kind("foul", "time_lost"),
    27: Kind("foul", "violent"),
    80: Kind("pass", "cross"),
    **dict.fromkeys(range(81, 87), Kind("pass")),
    30: Kind("pass", "corner_kick"),
    31: Kind("pass", "free_kick"),
    32: Kind("pass", "free_kick"),
    34: Kind("pass", "goal_kick"),
    36: Kind("pass", "throw_in"),
    10: Kind("duel", "aerial"),
    11: Kind("duel", "ground"),
    12: Kind("duel", "ground"),
    13: Kind("duel", "loose_ball"),
    71: Kind("clearance"),
    70: Kind("carry"),
    72: Kind("touch"),
    40: Kind("keeper_leaving_line"),
    50: Kind("ball_out"),
    51: Kind("whistle"),
}
OFFSIDE = 6
Percent = Annotated[float, msgspec.Meta(ge=-1_000, le=1_000)]


class Tag(msgspec.Struct, gc=False):
    """A fact about the record."""

    id: int


class Position(msgspec.Struct, gc=False):
    """Percent of the pitch, from the acting team's own goal and its left."""

    x: Percent
    y: Percent


class Record(msgspec.Struct, rename="camel"):
    """The fields of a Wyscout event that are read; `sub_event_id` is an empty text where there is none."""

    id: Count
    event_id: int
    team_id: Count
    match_period: str
    event_sec: float
    sub_event_id: int | str = ""
    player_id: Count = 0
    tags: list[Tag] = []
    positions: list[Position] = []


class Named(msgspec.Struct):
    """What is read of a team."""

    name: str


class Side(msgspec.Struct):
    """A team as the file wraps it."""

    team: Named


class Person(msgspec.Struct, rename="camel"):
    """What is read of a player."""

    wy_id: int
    short_name: str


class Member(msgspec.Struct):
    """A player as the file wraps them."""

    player: Person


class File(msgspec.Struct):
    """A file of one match; its events stay the provider's own bytes."""

    events: list[msgspec.Raw]
    teams: dict[str, Side]
    players: dict[str, list[Member]]


class WyscoutAdapter:
    """Maps Wyscout v2 events of a broadcast feed."""

    provider = "wyscout"
    source: Source = "broadcast"

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(Record)

    def map(self, record: bytes, match: Match) -> Incoming:
        """The canonical event of one record. Raises RejectedError with code and pointer."""
        event = decode(self._decoder, record, "a Wyscout event")
        period = PERIODS.get(PERIOD.get(event.match_period, ""))
        if period is None:
            raise RejectedError(
                f"matchPeriod {event.match_period[:20]!r} is none of {', '.join(PERIOD)}",
                code="unknown_period",
                pointer="/matchPeriod",
            )
        tags = {tag.id for tag in event.tags}
        kind = _kind(event, tags)
        if event.event_sec < 0:
            raise RejectedError(f"eventSec {event.event_sec} is negative", code="number_range", pointer="/eventSec")
        clock_s = check_clock(period.begins_s + event.event_sec, "/eventSec")
        team_id = str(event.team_id)
        return Incoming(
            match_id=match.match_id,
            type=_strongest(kind.type, tags),
            occurred_at=match.starts_at + timedelta(seconds=clock_s),
            source_event_id=str(event.id),
            team_id=team_id,
            player_id=str(event.player_id) if event.player_id else None,
            period=period.name,
            clock_s=clock_s,
            payload=_payload(event, kind, tags, home=team_id == match.home.id),
        )

    def read(self, path: Path) -> Feed:
        """A file as Wyscout's open data has it, gzipped or not. Raises MalformedError naming the file and place."""
        try:
            file = msgspec.json.decode(whole(path, "a Wyscout v2 file"), type=File)
        except UNREADABLE as error:
            raise MalformedError(f"{path.name} is not a Wyscout v2 file of one match: {error}") from error
        timed = [(*self._time(event, f"{path.name}, event {n}"), bytes(event)) for n, event in enumerate(file.events)]
        if len(file.teams) != 2 or not timed:
            raise MalformedError(
                f"{path.name} has {len(file.teams)} teams and {len(timed)} events; 2 and more are needed"
            )
        return Feed(_declaration(file), timed, _periods(timed))

    def _time(self, event: msgspec.Raw, place: str) -> tuple[str, float]:
        try:
            record = self._decoder.decode(event)
        except UNREADABLE as error:
            raise MalformedError(f"{place} is not a Wyscout v2 event: {error}") from error
        period = PERIODS.get(PERIOD.get(record.match_period, ""))
        if period is None:
            raise MalformedError(f"{place}: matchPeriod {record.match_period[:20]!r} is none of {', '.join(PERIOD)}")
        return period.name, period.begins_s + record.event_sec


def _kind(event: Record, tags: set[int]) -> Kind:
    """The record's own kind; sub-events that are not in the table may still say enough by a tag."""
    if event.event_id == OFFSIDE:
        return Kind("offside")
    kind = KINDS.get(event.sub_event_id) if isinstance(event.sub_event_id, int) else None
    if kind is not None:
        return kind
    if OWN_GOAL in tags:
        return Kind("own_goal")
    if CLEARANCE in tags:
        return Kind("clearance")
    if INTERCEPTION in tags:
        return Kind("interception")
    raise RejectedError(
        f"event {event.event_id}, sub-event {event.sub_event_id!r} has no counterpart in the vocabulary",
        code="unmapped",
        pointer="/subEventId",
    )


def _strongest(kind: str, tags: set[int]) -> str:
    if STRONG.isdisjoint(tags):
        return kind
    if OWN_GOAL in tags:
        return "own_goal"
    # The goalkeeper's save attempt carries the goal's tag too, and must not count.
    if GOAL in tags and kind == "shot":
        return "goal"
    return next((card for tag, card in CARDS.items() if tag in tags), kind)


def _payload(event: Record, kind: Kind, tags: set[int], *, home: bool) -> dict[str, Any]:
    payload: dict[str, Any] = {"sub_type": kind.sub_type} if kind.sub_type is not None else {}
    # Adding 0 makes -0.0 an ordinary zero.
    x, y = (1.05, -0.68) if home else (-1.05, 0.68)
    positions = event.positions
    if positions:
        payload["x"] = round((positions[0].x - 50) * x, 2) + 0.0
        payload["y"] = round((positions[0].y - 50) * y, 2) + 0.0
    if len(positions) > 1:
        payload["end_x"] = round((positions[1].x - 50) * x, 2) + 0.0
        payload["end_y"] = round((positions[1].y - 50) * y, 2) + 0.0
    facts = FACTS if GOAL in tags else FACTS_OF.get(kind.type, FACTS)
    for tag in tags:
        if tag in facts:
            field, value = facts[tag]
            payload[field] = value
    return payload


def _declaration(file: File) -> dict[str, Any]:
    """The first team of the file is the home side."""
    home, away = ({"id": i, "name": _plain(side.team.name)} for i, side in file.teams.items())
    players = [
        {"id": str(p.player.wy_id), "name": _plain(p.player.short_name), "team_id": team_id}
        for team_id, squad in file.players.items()
        for p in squad
    ]
    return {"home": home, "away": away, "players": players}


def _plain(name: str) -> str:
    """Names in the files hold JSON escapes inside the text (`\\u00e9`)."""
    try:
        return msgspec.json.decode(b'"%b"' % name.encode(), type=str)
    except msgspec.DecodeError:
        return name


def _periods(timed: list[tuple[str, float, bytes]]) -> list[tuple[str, float, float]]:
    """Each period with its first and last second, in the order in which the file has them."""
    spans: dict[str, float] = {}
    for name, at_s, _ in timed:
        spans[name] = max(spans.get(name, 0.0), at_s)
    return [(name, float(PERIODS[name].begins_s), last_s) for name, last_s in spans.items()]
