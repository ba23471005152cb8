"""The generated match of a seed, from the story to the items that are sent."""

import random

from eventhub.demo.crowd import posts
from eventhub.demo.feed import imperfect
from eventhub.demo.game import Game
from eventhub.demo.incidents import happens, play_on
from eventhub.demo.items import Demo, Item, Result, Told
from eventhub.demo.shootout import shoot_out
from eventhub.demo.shots import kick_off
from eventhub.demo.squads import declaration, sides
from eventhub.demo.story import Incident, plan
from eventhub.demo.tracking import frames
from eventhub.events import PERIODS

ADDED_S = {
    "first_half": (60, 240),
    "second_half": (120, 360),
    "first_half_extratime": (20, 90),
    "second_half_extratime": (40, 150),
}
PAUSE_S = 60.0
"""Between periods, instead of a quarter of an hour: long enough to see that it is a break."""

__all__ = ["Demo", "Item", "generate"]


def generate(seed: int) -> Demo:
    """The match of this seed; the same seed gives the same items."""
    rng = random.Random(seed)  # noqa: S311 - a story, not a secret
    game = Game(rng, sides(rng))
    declared = declaration(*game.sides)
    incidents = plan(rng)
    first = rng.randint(0, 1)
    for number, period in enumerate(ADDED_S):
        _period(game, period, [i for i in incidents if i.period == period], (first + number) % 2)
    shoot_out(game)
    game.tell("match_end")
    told = imperfect(rng, game.items)
    items = sorted([*told, *posts(rng, game.talk), *frames(rng, game)], key=lambda i: i.due_s)
    home, away = (Result(game.score[n], game.shootout[n], game.yellow[n], game.red[n]) for n in (0, 1))
    return Demo(declared, items, Told(home, away), game.sides[0].role | game.sides[1].role)


def _period(game: Game, period: str, incidents: list[Incident], kicks_off: int) -> None:
    """One period with its incidents; it does not end before a corner or a kick-off that is due."""
    game.begin(period)
    kick_off(game, kicks_off, start=True)
    ends_s = PERIODS[period].begins_s + PERIODS[period].length_s + game.rng.randint(*ADDED_S[period])
    while incidents or game.clock_s < ends_s or _waits(game):
        if incidents and game.clock_s >= incidents[0].clock_s:
            if happens(game, incidents[0]):
                incidents.pop(0)
        else:
            play_on(game)
    game.restart = None
    game.note("over", game.sides[0])
    game.end(PAUSE_S)


def _waits(game: Game) -> bool:
    if game.restart is not None:
        return game.restart.kind in ("corner_kick", "kick_off")
    return game.depth > 70
