"""What is sent of the generated match: imperfect as feeds are, with positions and posts beside it."""

import itertools
import math
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from eventhub import demo
from eventhub.streams import sheet
from eventhub.windows import AFTER_FINAL_S
from tests.demo.told import (
    LANGS,
    START,
    Event,
    Told,
    place,
)


def test_the_feed_has_late_double_revised_and_deleted_records_all_in_time(told: Told) -> None:
    items = [i for i in told.made.items if i.source == "broadcast"]
    said = Counter((i.event["source_event_id"], i.event.get("revision", 0)) for i in items)
    assert sum(n > 1 for n in said.values()) >= 10, "records sent twice"
    assert sum(revision > 0 for _, revision in said) >= 8, "revised records"
    deleted = [i.event for i in items if i.event.get("action") == "delete"]
    assert [e["type"] for e in deleted] == ["yellow_card"]
    numbers = [int(i.event["source_event_id"][1:]) for i in items if not i.event.get("revision")]
    assert any(b < a - 3 for a, b in itertools.pairwise(numbers)), "late records"
    first_due: dict[str, float] = {}
    seen: dict[tuple[str, int], Event] = {}
    for item in items:
        assert item.due_s >= first_due.setdefault(item.event["source_event_id"], item.due_s)
        assert item.due_s - item.event["clock_s"] < AFTER_FINAL_S
        assert seen.setdefault((item.event["source_event_id"], item.event.get("revision", 0)), item.event) == item.event


def test_players_run_and_do_not_jump_and_stay_on_the_pitch(told: Told) -> None:
    frames = [i for i in told.made.items if i.source == "sensors"]
    assert len(frames) >= 1200
    for before, after in itertools.pairwise(frames):
        at = {p: (x, y) for p, x, y in before.event["payload"]["players"]}
        assert 21 <= len(at) <= 22
        for player, x, y in after.event["payload"]["players"]:
            assert abs(x) <= 52.5 and abs(y) <= 34
            if after.due_s - before.due_s == 1 and player in at:
                assert math.dist(at[player], (x, y)) <= 9


def test_the_ball_of_a_frame_is_where_the_events_say_and_the_side_leans_to_it(told: Told) -> None:
    frames = {i.due_s: i.event["payload"] for i in told.made.items if i.source == "sensors"}
    own = {p["id"]: p["team_id"] for p in told.made.declaration["players"]}
    metres = [
        math.dist(frames[round(i.due_s)]["ball"], place(i.event))
        for i in told.made.items
        if i.event["type"] in ("pass", "carry") and i.due_s < 299 and abs(i.due_s - round(i.due_s)) < 0.06
    ]
    assert sum(far <= 3 for far in metres) >= 0.85 * len(metres) > 0
    middle = [
        (f["ball"][0], sum(x for p, x, _ in f["players"] if own[p] == told.teams[0]) / 11) for f in frames.values()
    ]
    ahead = [x for ball, x in middle if ball > 15]
    behind = [x for ball, x in middle if ball < -15]
    assert sum(ahead) / len(ahead) > sum(behind) / len(behind) + 8


def test_posts_are_of_many_languages_and_fit_what_happened(told: Told) -> None:
    posts = [i for i in told.made.items if i.source == "social"]
    assert {p.event["payload"]["lang"] for p in posts} >= LANGS - {"it", "ja"}
    family = {p["id"]: p["name"].split(" ", 1)[1] for p in told.made.declaration["players"]}
    about = [
        (i.due_s, {i.event["player_id"], i.event["payload"].get("player_in_id")}, i.event["type"])
        for i in told.made.items
        if i.source == "broadcast" and i.event["type"] in sheet.HELD and "player_id" in i.event
    ]
    taken_back = next(i.due_s for i in told.made.items if i.event["type"] == "var_review")
    for post in posts:
        recent = {p for at_s, players, _ in about for p in players if -0.1 <= post.due_s - at_s <= 60 and p}
        named = {p for p, name in family.items() if name in post.event["payload"]["text"]}
        assert named <= recent or 0 <= post.due_s - taken_back <= 60, post
    shootout_s = max(i.due_s for i in told.made.items if i.event["type"] == "period_start")
    for at_s, players, kind in about:
        if kind == "goal" and at_s < shootout_s:
            names = {family[p] for p in players if p}
            soon = [p.event["payload"]["text"] for p in posts if 0 < p.due_s - at_s <= 60]
            assert sum(any(name in text for name in names) for text in soon) >= 3


def test_no_kick_is_taken_after_the_shoot_out_is_decided(told: Told) -> None:
    kicks = [e for e in told.said if e["period"] == "shootout" and e["type"] in ("goal", "shot")]
    scored, left = [0, 0], [5, 5]
    for number, kick in enumerate(kicks):
        assert kick["team_id"] == kicks[number % 2]["team_id"] != kicks[(number + 1) % 2]["team_id"]
        if number >= 10 and number % 2 == 0:
            assert scored[0] == scored[1], "sudden death goes on only while it is level"
        elif number < 10:
            assert scored[0] <= scored[1] + left[1]
            assert scored[1] <= scored[0] + left[0]
        scored[number % 2] += kick["type"] == "goal"
        left[number % 2] -= 1
    by = Counter(kick["player_id"] for kick in kicks)
    assert max(by.values()) - min(by.values()) <= 1
    assert max(by.values()) == 1 or len(by) >= 20


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
