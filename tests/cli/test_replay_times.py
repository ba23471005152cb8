"""When a replayed feed's items are sent, and when its match begins: nothing ahead of the clock, nothing too late."""

import math
from datetime import datetime, timedelta

import pytest

from eventhub.cli.replay import Target, check_speed, check_start, steps
from eventhub.errors import RejectedError
from eventhub.events import Source
from eventhub.ingest.adapters import Feed
from eventhub.windows import AHEAD_S, LATE_S
from tests.cli.test_replay import FEED, FRAMES, NOW, started, target


def lateness_s(feed: Feed, to: Target, speed: float, start: datetime) -> list[float]:
    """How long after it occurred each record is sent, when a replay begins at NOW."""
    return [(NOW - start).total_seconds() + s.due_s / speed - s.clock_s for s in steps(feed, to, start)]


SHORT_HALVES = Feed(
    FEED.declaration,
    [("first_half", 600.0, b"{}"), ("second_half", 2760.0, b"{}")],
    [("first_half", 0.0, 600.0), ("second_half", 2700.0, 2760.0)],
)
SIXTEEN_MINUTES = Feed({}, [("", float(at_s), b"{}") for at_s in range(0, 960, 7)])


@pytest.mark.parametrize("speed", [1, 1.5, 4, 20, math.inf])
@pytest.mark.parametrize(
    ("feed", "source"),
    [(FEED, "broadcast"), (SHORT_HALVES, "broadcast"), (FRAMES, "sensors"), (SIXTEEN_MINUTES, "social")],
)
def test_nothing_lies_ahead_of_the_clock_and_nothing_is_later_than_its_window(
    feed: Feed, source: Source, speed: float
) -> None:
    start = started(feed, source, speed)
    late_s = lateness_s(feed, target(source), speed, start)
    assert min(late_s) >= -1e-3
    room_s = LATE_S.get(source, math.inf)
    if max(late_s) <= room_s - 60:
        check_speed(feed, source, speed)
        check_start(steps(feed, target(source), start), 0, target(source), start, NOW, speed)
    else:
        with pytest.raises(RejectedError, match="--speed"):
            check_speed(feed, source, speed)


@pytest.mark.parametrize(
    ("feed", "source", "speed", "ago_s"),
    [
        (FEED, "broadcast", 1, 0),
        (FEED, "broadcast", 2, 5498 - (2798 + 2798) / 2),
        (FEED, "broadcast", math.inf, 5498),
        (FRAMES, "sensors", 1, 0),
        (FRAMES, "sensors", math.inf, 9.7),
        (SHORT_HALVES, "broadcast", 1, 2700 - 600),
        (SHORT_HALVES, "broadcast", math.inf, 2760),
    ],
)
def test_a_match_that_nobody_declared_began_no_longer_ago_than_it_must(
    feed: Feed, source: Source, speed: float, ago_s: float
) -> None:
    assert (NOW - started(feed, source, speed)).total_seconds() == pytest.approx(ago_s, abs=0.01)


def test_a_feed_that_is_too_long_for_its_window_is_told_the_speed_that_it_may_have() -> None:
    half = Feed({}, [("", 0.0, b"{}"), ("", 2700.0, b"{}")])
    with pytest.raises(RejectedError, match=r"2700 s, and social may be 900 s late.*--speed 1\.48 is the most"):
        check_speed(half, "social", math.inf)
    check_speed(half, "social", 1.48)
    check_speed(half, "broadcast", math.inf)
    check_speed(Feed({}, half.records, dated=True), "social", math.inf)


@pytest.mark.parametrize(
    ("began_s", "done", "told"),
    [
        (0, 0, None),
        (LATE_S["sensors"] - 1, 0, None),
        (LATE_S["sensors"] + 1, 0, "121 s late"),
        (3600, 0, "3600 s late"),
        (5 - AHEAD_S + 9.7, 0, None),
        (-AHEAD_S - 60, 0, "370 s early"),
        (LATE_S["sensors"] + 6, 140, None),
        (LATE_S["sensors"] + 8, 140, "121 s late"),
        (3600, 195, None),
    ],
)
def test_a_declared_match_that_a_feed_cannot_be_admitted_to_is_told_at_once(
    began_s: float, done: int, told: str | None
) -> None:
    start = NOW - timedelta(seconds=began_s)
    plan = steps(FRAMES, target("sensors"), start)
    if told is None:
        check_start(plan, done, target("sensors"), start, NOW, math.inf)
        return
    with pytest.raises(RejectedError, match=told):
        check_start(plan, done, target("sensors"), start, NOW, math.inf)
