"""The plan of a schedule: what happens, and when; all of it from the seed.

Each seed allows some kinds of disturbance and not others, so that every few of them meet often.
"""

from random import Random
from typing import Any, NamedTuple

from eventhub.events import PERIODS
from tests.simulation.source import MATCHES, Wanted


class Settings(NamedTuple):
    """What does not change during a schedule."""

    partitions: int
    nodes: int
    spool: bool
    spool_bytes: int
    watchers: int
    snapshot_s: float
    refresh_s: float
    ring_bytes: int
    queue_bytes: int
    conflate_after_s: float
    snapshot_after_s: float
    tail_back_s: float


class Step(NamedTuple):
    """After a pause, something happens."""

    pause_s: float
    kind: str
    args: tuple[Any, ...] = ()


class Plan(NamedTuple):
    """A schedule."""

    settings: Settings
    steps: tuple[Step, ...]


DISTURBANCES: dict[str, float] = {
    "crash": 1.0,
    "freeze": 1.5,
    "rebalance": 1.0,
    "broker_down": 0.5,
    "mute": 0.7,
    "slow": 0.7,
    "postgres_down": 0.5,
    "lost_commits": 0.5,
    "read_only": 0.4,
    "compact": 0.5,
    "cut": 0.5,
}
FOR_THE_SPOOL = ("broker_down", "mute")
"""Without these nothing is ever spooled."""
KINDS = ("goal", "goal", "pass", "pass", "shot", "yellow_card", "red_card", "own_goal", "substitution", "var_review")


class _Story:
    """What has been sent of one match, and where its clock is."""

    def __init__(self, match_id: str) -> None:
        self.match_id = match_id
        self.sent: list[Wanted] = []
        self.owed: list[Wanted] = []
        self.clock_s = 0.0
        self.ended = False
        self.teams = ("t0", "t1") if match_id == "m0" else ("t2", "t0")


def plan(seed: int) -> Plan:
    """The plan of a seed."""
    rng = Random(seed)
    watchers = rng.choice((0, 0, 1, 2, 3))
    settings = Settings(
        partitions=rng.choice((1, 1, 2)),
        nodes=rng.choice((2, 2, 3)),
        spool=rng.random() < 0.35,
        spool_bytes=rng.choice((2_000, 1 << 20)),
        watchers=watchers,
        snapshot_s=rng.choice((0.0, 0.2, 1.0, 3600.0)),
        refresh_s=rng.choice((2.0, 3600.0, 3600.0, 3600.0)),
        ring_bytes=rng.choice((2_000, 6_000, 1 << 20)),
        queue_bytes=rng.choice((4_000, 8_000, 1 << 20)),
        conflate_after_s=rng.choice((0.0, 0.0, 3.0)),
        snapshot_after_s=rng.choice((0.3, 30.0)),
        tail_back_s=rng.choice((0.5, 600.0)),
    )
    allowed = [kind for kind in DISTURBANCES if rng.random() < 0.4 or (settings.spool and kind in FOR_THE_SPOOL)]
    stories = [_Story(match_id) for match_id in MATCHES]
    steps = []
    gap_s = rng.choice((0.02, 0.1, 0.3))
    number = 0
    for _ in range(rng.randrange(20, 41)):
        pause_s = rng.expovariate(1 / gap_s)
        draw = rng.random()
        if allowed and draw < 0.25:
            kind = rng.choices(allowed, [DISTURBANCES[k] for k in allowed])[0]
            steps.append(Step(pause_s, kind, _disturbance(rng, kind)))
        elif watchers and draw < 0.33:
            steps.append(Step(pause_s, rng.choice(("drop", "subscribe")), (rng.randrange(watchers), rng.random())))
        else:
            events, number = _events(rng, rng.choice(stories), number)
            steps.append(Step(pause_s, "send", (rng.randrange(settings.nodes), tuple(events))))
    owed = [wanted for story in stories for wanted in story.owed]
    if owed:
        steps.append(Step(0.1, "send", (0, tuple(owed))))
    return Plan(settings, tuple(steps))


def _disturbance(rng: Random, kind: str) -> tuple[Any, ...]:
    node = rng.randrange(3)
    match kind:
        case "crash":
            return node, rng.choice((0.0, 0.5, 3.0))
        case "freeze":
            return node, rng.choice((0.3, 1.0, 3.0, 6.0))
        case "rebalance":
            return (rng.choice(("enrichment", "history", "aggregation")),)
        case "broker_down" | "mute":
            return (rng.choice((0.2, 1.0, 3.0, 3.0, 5.0, 12.0)),)
        case "slow":
            return node, rng.choice((0.3, 2.0)), rng.choice((1.0, 4.0))
        case "postgres_down" | "read_only" | "lost_commits":
            return (rng.choice((0.3, 1.0, 4.0)),)
        case _:
            return (rng.random(),)


def _events(rng: Random, story: _Story, number: int) -> tuple[list[Wanted], int]:
    """What a source sends in one go."""
    events: list[Wanted] = []
    for _ in range(rng.choice((1, 1, 1, 3))):
        draw = rng.random()
        if story.sent and draw < 0.35:
            events.append(_again(rng, rng.choice(story.sent)))
            continue
        number += 1
        wanted = _fresh(rng, story, number)
        if draw > 0.93 and wanted.source == "broadcast":
            # The revision comes first, what it revises later.
            story.owed.append(wanted)
            wanted = _revised(rng, wanted)
        elif story.owed and draw > 0.8:
            events.append(story.owed.pop())
        story.sent.append(wanted)
        events.append(wanted)
    return events, number


def _fresh(rng: Random, story: _Story, number: int) -> Wanted:
    draw = rng.random()
    if draw < 0.1:
        return Wanted("social", story.match_id, "post", number, content=number)
    if draw < 0.2:
        return Wanted("sensors", story.match_id, "tracking_frame", number, content=number)
    if draw < 0.25:
        return Wanted("translation", story.match_id, "translation", number, content=number)
    story.clock_s += rng.choice((1.0, 30.0, 400.0))
    period = "first_half" if story.clock_s < PERIODS["second_half"].begins_s else "second_half"
    kind = rng.choice(KINDS)
    if rng.random() < 0.06:
        kind = rng.choice(("period_start", "period_end", "match_end"))
    timed = rng.random() < 0.8
    return Wanted(
        "broadcast",
        story.match_id,
        kind,
        number,
        content=number,
        team=rng.choice(story.teams),
        period=period if timed else None,
        clock_s=story.clock_s if timed else None,
    )


def _again(rng: Random, wanted: Wanted) -> Wanted:
    """A duplicate, a conflict or a revision."""
    draw = rng.random()
    if draw < 0.45:
        return wanted
    if draw < 0.65 or wanted.source != "broadcast":
        return wanted._replace(content=wanted.content + 1000)
    return _revised(rng, wanted)


def _revised(rng: Random, wanted: Wanted) -> Wanted:
    revision = wanted.revision + rng.choice((1, 1, 2))
    changed = wanted._replace(revision=revision, content=wanted.content + 10 * revision)
    if rng.random() < 0.4:
        return changed._replace(action="delete")
    if rng.random() < 0.3:
        return changed._replace(action="update", type=rng.choice(KINDS))
    return changed._replace(action="update")
