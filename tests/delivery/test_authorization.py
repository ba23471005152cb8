"""A token may be for some channels only: asked at every subscribe, resume and read, and again when it changes.

Each guarantee is a function that a mutant fails.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from eventhub import web
from eventhub.auth import Principal
from eventhub.delivery import Delivery
from eventhub.delivery.connection import Connection
from eventhub.delivery.subscriptions import Subscriptions
from tests.delivery.conftest import MakeWorld
from tests.delivery.memory import match
from tests.delivery.world import SMALL, Client, World, until


def refusals(client: Client) -> list[tuple[str, str]]:
    return [(e["channel"], e["code"]) for e in client.of_type("error")]


async def only_what_the_token_names(world: World) -> None:
    """By any way of asking: with a state, from the start, after a cursor, several at once, what is not there."""
    for _ in range(3):
        world.log.append("m0")
        world.log.append("m1")
    await world.start()
    client = world.client("good|match:m0|team:t3")
    client.subscribe("match:m1")
    client.subscribe("match:m1", from_="start")
    client.subscribe("match:m1", cursor="e1.1.0")
    client.subscribe("match:unheard-of")
    for channel in ("team:t1", "scores", "competition:cup"):
        client.subscribe(channel)
    client.say(id=9, type="subscribe", channels=[{"channel": "match:m0", "from": "start"}, {"channel": "match:m1"}])
    client.subscribe("team:t3")
    await until(lambda: len(client.ids) == 3 and len(client.of_type("subscribed")) == 2)
    wrong = ["match:m1"] * 3 + ["match:unheard-of", "team:t1", "scores", "competition:cup", "match:m1"]
    assert refusals(client) == [(channel, "channel_not_allowed") for channel in wrong]
    assert {m["channel"] for m in client.of_type("subscribed")} == {"match:m0", "team:t3"}
    assert world.asked == 0, "what may not be read is not looked for"
    assert client.closed is None


async def a_new_token_ends_what_it_does_not_name(world: World) -> None:
    await world.start()
    client = world.client("good")
    for channel in ("match:m0", "match:m1", "scores"):
        client.subscribe(channel)
    await until(lambda: len(client.of_type("subscribed")) == 3)
    client.say(id=3, type="refresh", token="good|match:m1")
    await until(lambda: len(client.of_type("refreshed")) == 1 and len(refusals(client)) == 2)
    assert sorted(refusals(client)) == [("match:m0", "channel_not_allowed"), ("scores", "channel_not_allowed")]
    world.log.append("m0")
    world.log.append("m1")
    await until(lambda: len(client.ids) == 1)
    await world.tailed()
    assert [e["channel"] for e in client.of_type("event")] == ["match:m1"]
    client.subscribe("match:m0")
    assert refusals(client)[-1] == ("match:m0", "channel_not_allowed")


async def a_subscription_under_way_ends_too(world: World) -> None:
    """It waits for the registry while the token changes."""
    await world.start()
    world.asking.clear()
    world.declared_elsewhere["m9"] = match("m9")
    client = world.client("good")
    client.subscribe("match:m9")
    await until(lambda: world.asked == 1)
    client.say(id=3, type="refresh", token="good|match:m1")
    world.asking.set()
    await until(lambda: refusals(client) == [("match:m9", "channel_not_allowed")])
    world.log.append("m9")
    await world.tailed()
    assert client.of_type("subscribed") == [] == client.ids


async def reads_are_for_what_the_token_names(world: World) -> None:
    for _ in range(2):
        world.log.append("m0")
        world.log.append("m1")
    await world.start()
    app = Starlette(routes=world.delivery.routes(), exception_handlers=web.handlers())
    transport = httpx2.ASGITransport(app)
    headers = {"Authorization": "Bearer good|match:m0"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://node", headers=headers) as http:
        assert len((await http.get("/v1/matches/m0/events")).json()["items"]) == 2
        assert [one["match_id"] for one in (await http.get("/v1/matches")).json()["items"]] == ["m0"]
        for path in ("/v1/matches/m1", "/v1/matches/m1/events", "/v1/matches/none", "/v1/stream/sse?channel=match:m1"):
            answer = await http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (403, "channel_not_allowed"), path


async def whoever_is_revoked_is_closed_for_good_and_nobody_else(world: World) -> None:
    await world.start()
    ann, also_ann, bob = world.client("good-ann"), world.client("good-ann"), world.client("good-bob")
    unnamed = world.client(None)
    for client in (ann, bob):
        client.subscribe("match:m0")
    world.delivery.recheck("good-ann")
    await asyncio.sleep(0)
    assert ann.closed is None
    world.revoked = {"good-ann", "good-bob"}
    world.delivery.recheck("good-ann")
    await until(lambda: ann.closed is not None and also_ann.closed is not None)
    assert ann.closed == also_ann.closed == (3500, "unauthorized")
    assert ann.of_type("error")[0]["message"] == "this login was ended"
    world.log.append("m0")
    await until(lambda: len(bob.ids) == 1)
    assert ann.ids == [] and bob.closed is None and unnamed.closed is None


async def whoever_is_revoked_on_the_way_in_is_refused(world: World) -> None:
    """The registry is asked for a channel that is not known here, and meanwhile the login ends."""
    world.asking.clear()
    world.declared_elsewhere["m9"] = match("m9")
    await world.start()
    app = Starlette(routes=world.delivery.routes(), exception_handlers=web.handlers())
    headers = {"Authorization": "Bearer good-ann"}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://node", headers=headers) as http:
        asking = asyncio.create_task(http.get("/v1/stream/sse?channel=match:m9"))
        await until(lambda: world.asked == 1)
        world.revoked = {"good-ann"}
        world.delivery.recheck("good-ann")
        world.asking.set()
        async with asyncio.timeout(2):
            answer = await asking
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    await until(lambda: world.delivery.connections == 0)


async def a_token_from_outside_is_not_honoured_past_its_end(world: World) -> None:
    await world.start()
    ends = datetime.now(UTC) - timedelta(seconds=1)
    ours, theirs = (
        Client(world.delivery._enter(Principal(f"u{number}", "free", ends, ours=number == 0))) for number in range(2)
    )
    for client in (ours, theirs):
        client.say(id=1, type="connect")
    await until(lambda: theirs.closed is not None)
    assert theirs.closed == (3500, "unauthorized") and ours.closed is None
    ours.stop()


Scenario = Callable[[World], Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {
    one.__name__: one
    for one in (
        only_what_the_token_names,
        a_new_token_ends_what_it_does_not_name,
        a_subscription_under_way_ends_too,
        reads_are_for_what_the_token_names,
        whoever_is_revoked_is_closed_for_good_and_nobody_else,
        whoever_is_revoked_on_the_way_in_is_refused,
        a_token_from_outside_is_not_honoured_past_its_end,
    )
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_authorization(make_world: MakeWorld, name: str) -> None:
    await SCENARIOS[name](make_world(replace(SMALL, ping_s=0.05)))


def everything(*_: object) -> bool:
    return True


def nothing(*_: object) -> None:
    pass


def only_followers(original: Any) -> Any:
    """Looks only at what is subscribed, and not at what is under way."""

    def restrict(self: Subscriptions) -> None:
        catching, self._catching = self._catching, {}
        try:
            original(self)
        finally:
            self._catching = catching

    return restrict


@pytest.mark.parametrize(
    ("scenario", "place", "name", "mutant"),
    [
        (only_what_the_token_names, Principal, "may_read", everything),
        (a_new_token_ends_what_it_does_not_name, Subscriptions, "restrict", nothing),
        (a_subscription_under_way_ends_too, Subscriptions, "restrict", only_followers(Subscriptions.restrict)),
        (reads_are_for_what_the_token_names, Principal, "may_read", everything),
        (whoever_is_revoked_is_closed_for_good_and_nobody_else, Connection, "recheck", nothing),
        (
            whoever_is_revoked_is_closed_for_good_and_nobody_else,
            Delivery,
            "recheck",
            lambda self, user: [one.recheck() for one in list(self._connections)],
        ),
    ],
)
async def test_mutants_of_authorization(
    world: World, scenario: Scenario, place: Any, name: str, mutant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, name, mutant)
    # What never comes is not waited for as long as in the test itself.
    with pytest.raises((AssertionError, TimeoutError)):
        async with asyncio.timeout(2):
            await scenario(world)


async def test_nobody_reads_another_tenants_stream_by_guessing(world: World) -> None:
    """10,000 pairs of a token for one tenant and a match, each asked in one of the ways that there are."""
    tenants = [f"tenant{number}" for number in range(10)]
    for tenant in tenants:
        world.registry |= {f"{tenant}-{n}": match(f"{tenant}-{n}") for n in range(10)}
    await world.start()
    dice, wrong = random.Random(7), 0
    for tenant in tenants:
        named = Principal("u", "free", datetime.now(UTC), channels=(f"match:{tenant}-*",))
        client = world.client(f"good|match:{tenant}-*")
        client.connection._commands = client.connection._bucket(1e9, 1e9)
        client.connection._changes = client.connection._bucket(1e9, 1e9)
        for _ in range(1000):
            other = f"match:{dice.choice(tenants)}-{dice.randrange(12)}"
            ways: list[dict[str, str]] = [{}, {"from_": "start"}, {"cursor": "e1.0.0"}, {"cursor": "e1.1.7"}]
            allowed = other.startswith(f"match:{tenant}-")
            assert named.may_read(other) == allowed
            if not allowed:
                client.subscribe(other, **dice.choice(ways))
                wrong += 1
        assert client.of_type("subscribed") == [] == client.ids
        assert {code for _, code in refusals(client)} == {"channel_not_allowed"}
        client.stop()
    assert wrong > 8000


async def a_plan_that_changes_moves_whoever_is_connected(make_world: MakeWorld) -> None:
    world = make_world(replace(SMALL, plan_delays_s={"free": 0.2, "pro": 0}))
    await world.start()
    client, other = world.client("good-ann@pro"), world.client("good-bob@pro")
    for one in (client, other):
        one.subscribe("match:m0")
    await until(lambda: client.of_type("subscribed") != [])
    world.delivery.recheck("good-ann")
    world.plans = {"good-ann": "free", "good-bob": "free"}
    assert client.closed is None
    world.delivery.recheck("good-ann")
    await until(lambda: client.closed is not None, "the client to be sent away", 2)
    assert client.closed == (3009, "delayed") and other.closed is None


async def test_a_plan_that_changes_moves_whoever_is_connected(make_world: MakeWorld) -> None:
    await a_plan_that_changes_moves_whoever_is_connected(make_world)


async def test_mutant_a_plan_that_is_the_one_of_the_token(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(World, "_still", lambda self, principal: principal)
    with pytest.raises(AssertionError):
        await a_plan_that_changes_moves_whoever_is_connected(make_world)


async def test_mutant_nobody_looks_again_on_the_way_in(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "_still", lambda self, principal: principal)
    with pytest.raises((AssertionError, TimeoutError)):
        await whoever_is_revoked_on_the_way_in_is_refused(make_world())
