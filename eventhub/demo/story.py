"""Which incidents a seed's match has, and when: the score is level after 90 and after 120 minutes by construction.

Every match has an own goal, a goal that VAR takes back, a penalty, a sending-off, a card shown to the wrong player,
and three to five substitutions a side; which side, when, and how often is the seed's.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

from eventhub.events import PERIODS

FROM_FIRST_MINUTE_S, BEFORE_END_S = 100, 150
APART_S = 100


class Incident(NamedTuple):
    """Not before `clock_s`; `side` gains by a goal or penalty, and is at fault otherwise."""

    clock_s: float
    period: str
    kind: str
    side: int


def plan(rng: random.Random) -> list[Incident]:
    """The incidents of one match in order, at least 100 s apart but for substitutions."""
    told: list[Incident] = []
    regular, extra = ("first_half", "second_half"), ("first_half_extratime", "second_half_extratime")
    scored = rng.random() < 0.65
    each, late = rng.choices((1, 2, 3), (45, 40, 15))[0], rng.choices((0, 1), (45, 55))[0]
    goals = [(side, regular) for side in (0, 1) for _ in range(each)] + [(side, extra) for side in (0, 1)] * late
    own, penalty = rng.sample(range(2 * each), 2)
    for number, (side, periods) in enumerate(goals):
        kind = "own_goal" if number == own else "penalty_goal" if scored and number == penalty else "goal"
        if kind == "goal" and rng.random() < 0.1:
            kind = "free_kick_goal"
        told.append(_some_time(rng, told, periods, kind, side))
    if not scored:
        told.append(_some_time(rng, told, rng.choice((regular, regular, extra)), "penalty_missed", rng.randint(0, 1)))
    told.append(_some_time(rng, told, rng.choice((regular, regular, extra)), "goal_taken_back", rng.randint(0, 1)))
    _cards(rng, told)
    _substitutions(rng, told)
    return sorted(told, key=lambda i: (i.clock_s, i.kind))


def _cards(rng: random.Random, told: list[Incident]) -> None:
    """Between two and six bookings, one of them of the wrong player, and one sending-off."""
    for _ in range(rng.randint(1, 5)):
        told.append(_some_time(rng, told, list(PERIODS)[:4], "yellow_card", rng.randint(0, 1)))
    told.append(_some_time(rng, told, list(PERIODS)[:3], "wrong_card", rng.randint(0, 1)))
    side = rng.randint(0, 1)
    if rng.random() < 0.45:
        told.append(_some_time(rng, told, list(PERIODS)[1:4], "red_card", side))
        return
    first = _some_time(rng, told, ("first_half",), "first_caution", side)
    told.append(first)
    told.append(_some_time(rng, told, list(PERIODS)[1:4], "second_caution", side))


def _substitutions(rng: random.Random, told: list[Incident]) -> None:
    """The later ones in extra time; two at one stop now and then."""
    for side in (0, 1):
        count = rng.randint(3, 5)
        clock_s = 0.0
        for number in range(count):
            period = list(PERIODS)[rng.choice((2, 3))] if number >= 3 else "second_half"
            if number not in (1, 2) or rng.random() < 0.7:
                clock_s = _within(rng, period)
            told.append(Incident(clock_s, period, "substitution", side))


def _within(rng: random.Random, period: str) -> float:
    begins_s, length_s = PERIODS[period][1:]
    return float(rng.randint(begins_s + FROM_FIRST_MINUTE_S, begins_s + length_s - BEFORE_END_S))


def _some_time(rng: random.Random, told: list[Incident], periods: Sequence[str], kind: str, side: int) -> Incident:
    """At a time of its own; halves of 45 minutes get three times as much as those of 15."""
    for _ in range(1000):
        period = rng.choices(periods, [PERIODS[name].length_s for name in periods])[0]
        clock_s = _within(rng, period)
        if all(abs(clock_s - other.clock_s) >= APART_S for other in told):
            break
    return Incident(clock_s, period, kind, side)
