"""The generated match is the seed's alone, plausible, and has everything that it promises."""

import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventhub import demo
from eventhub.events import TYPES, Match, Player, Team
from eventhub.streams import sheet
from eventhub.streams.sheet import Seen

SEEDS = range(8)
START = datetime(2026, 7, 1, tzinfo=UTC)


def folded(made: demo.Demo) -> sheet.Sheet:
    told = made.declaration
    match = Match("m", Team(**told["home"]), Team(**told["away"]), START, [Player(**p) for p in told["players"]])
    fold = sheet.begin(match)
    for item in made.items:
        event = item.event
        own_id, revision = event["source_event_id"], event.get("revision", 0)
        seen = Seen(
            event_id=f"{own_id}.{revision}",
            of=f"{own_id}.0" if revision else None,
            type=event["type"],
            match_id="m",
            revision=revision,
            action=event.get("action", "insert"),
            team_id=event.get("team_id"),
            period=event.get("period"),
            clock_s=event.get("clock_s"),
        )
        sheet.apply(fold, seen)
    return sheet.sheet(fold, match)


def test_the_same_seed_is_the_same_match_and_another_is_another() -> None:
    assert demo.generate(1) == demo.generate(1)
    assert demo.generate(1) != demo.generate(2)


@pytest.mark.parametrize("seed", SEEDS)
def test_it_ends_level_goes_to_a_shoot_out_and_the_goal_taken_back_does_not_count(seed: int) -> None:
    made = demo.generate(seed)
    shown = folded(made)
    first_said = [i.event for i in made.items if i.event["type"] == "goal" and not i.event.get("revision")]
    in_play = [e for e in first_said if e["period"] != "shootout"]
    assert shown.status == "final"
    assert shown.home.score == shown.away.score
    assert shown.home.score + shown.away.score == len(in_play), "one goal was taken back, one was an own goal"
    assert shown.home.shootout != shown.away.shootout
    assert shown.home.red_cards + shown.away.red_cards == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_it_has_everything_that_is_promised(seed: int) -> None:
    made = demo.generate(seed)
    sources = Counter(item.source for item in made.items)
    kinds = Counter(item.event["type"] for item in made.items)
    assert 1400 <= sources["broadcast"] <= 2600
    assert sources["sensors"] == 300
    assert sources["social"] >= 10
    assert kinds["substitution"] == 6
    for kind in ("own_goal", "var_review", "second_yellow_card", "penalty_awarded", "match_end"):
        assert kinds[kind] == 1, kind
    said = Counter((i.event["source_event_id"], i.event.get("revision", 0)) for i in made.items)
    assert sum(n > 1 for n in said.values()) >= 10, "records sent twice"
    assert sum(revision > 0 for _, revision in said) >= 6, "revised records"
    numbers = [int(i.event["source_event_id"][1:]) for i in made.items if i.source == "broadcast"]
    assert any(b < a - 3 for a, b in itertools.pairwise(numbers)), "late records"


@pytest.mark.parametrize("seed", SEEDS)
def test_everybody_plays_for_his_own_side_and_only_while_he_is_on_the_pitch(seed: int) -> None:
    made = demo.generate(seed)
    team_of = {p["id"]: p["team_id"] for p in made.declaration["players"]}
    gone: set[str] = set()
    in_order = sorted(
        (i.event for i in made.items if i.source == "broadcast"), key=lambda e: int(e["source_event_id"][1:])
    )
    for event in in_order:
        assert "broadcast" in TYPES[event["type"]].sources
        player = event.get("player_id")
        if player is not None:
            assert team_of[player] == event["team_id"]
            assert player not in gone
        if event["type"] in ("substitution", "second_yellow_card"):
            gone.add(event["player_id"])
    assert len(gone) == 7


async def test_it_is_played_in_order_and_in_match_time() -> None:
    made, now = demo.generate(3), [START]
    posted: list[tuple[str, str]] = []

    async def post(source: str, events: list[dict[str, Any]]) -> None:
        posted.extend((source, e["source_event_id"]) for e in events)

    async def sleep(seconds: float) -> None:
        now[0] += timedelta(seconds=seconds)

    await demo.play(made, match_id="m", starts_at=START, speed=60, post=post, clock=lambda: now[0], sleep=sleep)
    for source in ("broadcast", "sensors", "social"):
        wanted = [(i.source, i.event["source_event_id"]) for i in made.items if i.source == source]
        assert [p for p in posted if p[0] == source] == wanted
    assert (now[0] - START).total_seconds() * 60 >= made.items[-1].due_s


def test_broadcast_occurs_by_the_match_clock_and_the_rest_now() -> None:
    made = demo.generate(3)
    for item in made.items:
        event = demo.body(item, match_id="m", starts_at=START, now=START + timedelta(hours=3))
        at = datetime.fromisoformat(event["occurred_at"])
        by_clock = START + timedelta(seconds=item.event.get("clock_s", 0))
        assert at == (by_clock if item.source == "broadcast" else START + timedelta(hours=3))


@pytest.mark.parametrize("seed", SEEDS)
def test_players_run_and_do_not_jump_and_stay_on_the_pitch(seed: int) -> None:
    frames = [i.event["payload"]["players"] for i in demo.generate(seed).items if i.source == "sensors"]
    for before, after in itertools.pairwise(frames):
        at = {p: (x, y) for p, x, y in before}
        for player, x, y in after:
            assert abs(x) <= 52.5
            assert abs(y) <= 34
            moved = ((x - at[player][0]) ** 2 + (y - at[player][1]) ** 2) ** 0.5 if player in at else 0
            assert moved <= 6.2


@pytest.mark.parametrize("seed", SEEDS)
def test_no_kick_is_taken_after_the_shoot_out_is_decided(seed: int) -> None:
    kicks = [
        i.event
        for i in demo.generate(seed).items
        if i.event.get("period") == "shootout" and i.event["type"] in ("goal", "shot")
    ]
    scored, left = [0, 0], [5, 5]
    for number, kick in enumerate(kicks):
        assert scored[0] <= scored[1] + left[1]
        assert scored[1] <= scored[0] + left[0]
        scored[number % 2] += kick["type"] == "goal"
        left[number % 2] -= 1
    assert len({k["player_id"] for k in kicks}) == len(kicks)
