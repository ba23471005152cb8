"""A generated match read as who watches it reads it: what was said, and what stands in the end."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any, NamedTuple

from eventhub import demo
from eventhub.events import Match, Player, Team
from eventhub.streams import sheet
from eventhub.streams.sheet import Seen

SEEDS, SOME = range(40), range(100, 112)
START = datetime(2026, 7, 1, tzinfo=UTC)
REGULAR = ("first_half", "second_half")
FOULS = ("foul", "yellow_card", "second_yellow_card", "red_card")
KICKS = ("period_start", "goal", "shot", "save")
SET_PIECES = {"goal_kick", "corner_kick", "throw_in", "free_kick", "penalty_kick"}
SUB_TYPES = {
    "pass": {"cross", "corner_kick", "free_kick", "goal_kick", "throw_in"},
    "goal": {"free_kick", "penalty_kick"},
    "shot": {"free_kick", "penalty_kick"},
    "save": {"save", "save_attempt"},
    "duel": {"aerial", "ground", "loose_ball"},
    "foul": {"hand"},
    "red_card": {"violent"},
}
LANGS = {"en", "es", "de", "fr", "pt", "it", "ja", "ar"}

Event = dict[str, Any]


class Told(NamedTuple):
    """A match, what broadcast said first in the order of play, and what stands in the end."""

    made: demo.Demo
    said: list[Event]
    stands: list[Event]
    teams: tuple[str, str]

    def forward(self, event: Event) -> int:
        return 1 if event["team_id"] == self.teams[0] else -1

    def rival(self, team: str) -> str:
        return self.teams[1 - self.teams.index(team)]


def read(made: demo.Demo) -> Told:
    latest: dict[int, Event] = {}
    first: dict[int, Event] = {}
    for item in made.items:
        if item.source == "broadcast":
            number, event = int(item.event["source_event_id"][1:]), item.event
            if event.get("revision", 0) >= latest.get(number, {}).get("revision", 0):
                latest[number] = event
            if not event.get("revision"):
                first[number] = event
    stands = [latest[n] for n in sorted(latest) if latest[n].get("action") != "delete"]
    teams = (made.declaration["home"]["id"], made.declaration["away"]["id"])
    return Told(made, [first[n] for n in sorted(first)], stands, teams)


def place(event: Event) -> tuple[float, float]:
    return event["payload"]["x"], event["payload"]["y"]


def goals(told: Told, *periods: str) -> Counter[str]:
    """By the team that gained them."""
    gained: Counter[str] = Counter()
    for event in told.stands:
        if event["type"] in ("goal", "own_goal") and event["period"] in periods:
            gained[event["team_id"] if event["type"] == "goal" else told.rival(event["team_id"])] += 1
    return gained


def folded(made: demo.Demo) -> sheet.Sheet:
    declared, again = made.declaration, set()
    players = [Player(**p) for p in declared["players"]]
    match = Match("m", Team(**declared["home"]), Team(**declared["away"]), START, players)
    fold = sheet.begin(match)
    for item in made.items:
        own_id, revision = item.event["source_event_id"], item.event.get("revision", 0)
        if (own_id, revision) in again:
            continue
        again.add((own_id, revision))
        known = {k: v for k, v in item.event.items() if k in Seen.__struct_fields__}
        of = f"{own_id}.0" if revision else None
        sheet.apply(fold, Seen(event_id=f"{own_id}.{revision}", of=of, match_id="m", **known))
    return sheet.sheet(fold, match)
