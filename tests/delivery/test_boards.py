"""Channels of states only: what stands, then what changes; nobody misses where a match stands."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from eventhub.delivery.board import Board
from eventhub.delivery.channels import KINDS
from eventhub.events import Match, Team
from tests.delivery.conftest import MakeWorld
from tests.delivery.world import SMALL, Client, World, until


def today(world: World) -> None:
    """The matches of the world begin now, as far as `scores` is concerned."""
    now = datetime.now(UTC)
    world.registry.update({name: match_at(one, now) for name, one in world.registry.items()})


def match_at(one: Match, at: datetime) -> Match:
    return Match(one.match_id, one.home, one.away, at, competition=one.competition)


def play(world: World, match_id: str, minute: int, kind: str = "n:pass") -> None:
    cause = world.log.append(match_id, kind)
    world.log.state(match_id, cause=cause.offset, minute=str(minute))


def shown(client: Client, channel: str) -> dict[str, Any]:
    """By match the minute that the client shows last."""
    return {
        m["state"]["match_id"]: m["state"].get("minute") for m in client.of_type("state") if m["channel"] == channel
    }


async def test_what_stands_comes_with_the_answer_and_then_only_states(world: World) -> None:
    today(world)
    play(world, "m1", 5)
    await world.start()
    client = world.client()
    client.subscribe("scores")
    await until(lambda: client.of_type("subscribed") != [])
    assert [m["type"] for m in client.frames[1]] == ["subscribed", *["state"] * 4]
    assert shown(client, "scores") == {"m0": None, "m1": "5", "m2": None, "m3": None}
    play(world, "m3", 7)
    play(world, "m0", 1)
    await until(lambda: shown(client, "scores") == {"m0": "1", "m1": "5", "m2": None, "m3": "7"})
    assert client.of_type("event") == []


async def test_a_competition_has_its_own_matches(world: World) -> None:
    await world.start()
    cup, league = world.client(), world.client()
    cup.subscribe("competition:cup")
    league.subscribe("competition:league")
    await until(lambda: cup.of_type("subscribed") != [] and league.of_type("subscribed") != [])
    play(world, "m0", 3)
    play(world, "m3", 4)
    await until(lambda: shown(cup, "competition:cup").get("m0") == "3")
    await until(lambda: shown(league, "competition:league") == {"m3": "4"})
    assert shown(cup, "competition:cup") == {"m0": "3", "m1": None, "m2": None}


async def test_scores_leave_out_what_is_neither_near_nor_going_on(world: World) -> None:
    now = datetime.now(UTC)
    old = {f"m{n}": Match(f"m{n}", Team("t1", "A"), Team("t2", "B"), now - timedelta(days=30)) for n in (4, 5)}
    world.registry.update(old)
    today_is = {"m0", "m1", "m2", "m3"}
    world.registry.update({name: match_at(world.registry[name], now) for name in today_is})
    play(world, "m5", 90)
    await world.start()
    client = world.client()
    client.subscribe("scores")
    await until(lambda: client.of_type("subscribed") != [])
    assert shown(client, "scores").keys() == today_is | {"m5"}


async def test_a_cursor_gives_what_has_changed_since(world: World) -> None:
    await world.start()
    first = world.client()
    first.subscribe("competition:cup")
    play(world, "m0", 1)
    play(world, "m1", 2)
    await until(lambda: shown(first, "competition:cup") == {"m0": "1", "m1": "2", "m2": None})
    cursor = first.of_type("state")[-1]["cursor"]
    play(world, "m0", 9)
    await world.tailed()
    second = world.client()
    second.subscribe("competition:cup", cursor=cursor)
    await until(lambda: second.of_type("subscribed") != [])
    assert second.of_type("subscribed")[0]["recovered"] is True
    assert shown(second, "competition:cup") == {"m0": "9"}
    third = world.client()
    third.subscribe("competition:cup", cursor="e0.0.7")
    await until(lambda: third.of_type("subscribed") != [])
    assert third.of_type("subscribed")[0]["recovered"] is False
    assert shown(third, "competition:cup") == {"m0": "9", "m1": "2", "m2": None}


async def follows_slowly(make_world: MakeWorld, seed: int) -> None:
    """A client that stalls again and again shows in the end what stands."""
    rng = random.Random(seed)
    world = make_world(replace(SMALL, queue_bytes=4_000))
    names = [f"m{n}" for n in range(40)]
    world.registry.update({n: Match(n, Team("t1", "A"), Team("t2", "B"), datetime.now(UTC)) for n in names})
    for name in names[::2]:
        play(world, name, 1)
    await world.start()
    client = world.client()
    client.stall()
    client.subscribe("scores")
    for _ in range(30):
        for _ in range(rng.randrange(1, 30)):
            play(world, rng.choice(names), rng.randrange(90), rng.choice(("n:pass", "c:goal")))
        await world.tailed()
        if rng.random() < 0.5:
            client.take()
            client.stalled = rng.random() < 0.7
    client.take()
    sheets = world.delivery._feed.sheets
    wanted = {n: msgspec.json.decode(sheets.of(n).body).get("minute") for n in names}
    await until(lambda: client.connection.subscriptions._followers["scores"].live)
    await until(lambda: shown(client, "scores") == wanted, deadline_s=3)
    assert client.closed is None


async def all_follow_slowly(make_world: MakeWorld) -> None:
    for seed in range(10):
        await follows_slowly(make_world, seed)


@pytest.mark.parametrize("seed", range(10))
async def test_a_slow_client_shows_what_stands_once_it_has_caught_up(make_world: MakeWorld, seed: int) -> None:
    await follows_slowly(make_world, seed)


async def test_it_finds_out_a_board_that_forgets_what_it_missed(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(self: Board) -> None:
        self._seen = dict(self._feed.hub.seen)
        self.live = False
        self._behind(self)

    monkeypatch.setattr(Board, "fall_behind", late)
    with pytest.raises(AssertionError):
        await all_follow_slowly(make_world)


async def test_an_idle_board_costs_nothing_and_may_be_left(world: World) -> None:
    await world.start()
    client = world.client()
    client.subscribe("scores")
    await until(lambda: client.of_type("subscribed") != [])
    client.say(id=3, type="unsubscribe", channel="scores")
    await until(lambda: client.of_type("unsubscribed") != [])
    assert world.delivery._feed.hub._tables == {kind: {} for kind in KINDS}
    play(world, "m0", 1)
    await world.tailed()
    assert client.of_type("state") == []
