"""Limits: how many may come, how fast, and how often they change their minds; told before they are enforced."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from eventhub import web
from eventhub.bucket import KNOWN, Bucket
from eventhub.delivery.doors import Addresses, Doors, Elsewhere, network
from eventhub.delivery.feed import TOLD, Limits
from eventhub.errors import LimitError, UnavailableError
from eventhub.server import Listener, bind
from tests.delivery.conftest import MakeWorld
from tests.delivery.memory import match
from tests.delivery.world import SMALL, World, until


def doors(
    *,
    most: int = 100,
    per_address: int = 3,
    per_user: int = 2,
    total: int = 1000,
    per_s: float = 1e6,
    burst: int = 1000,
    elsewhere: Elsewhere | None = None,
) -> Doors:
    return Doors(
        most=most,
        per_address=per_address,
        per_user=per_user,
        per_address_total=total,
        per_user_total=total,
        handshakes_per_s=per_s,
        handshakes_burst=burst,
        elsewhere=elsewhere,
    )


def come(at: Doors, address: str, now: float = 0) -> None:
    at.knock(address, now)
    at.enter(address)


@given(st.floats(0.1, 50), st.integers(1, 20), st.lists(st.floats(0, 3), max_size=60))
def test_a_bucket_gives_its_burst_and_its_rate_and_no_more(per_s: float, burst: int, pauses: list[float]) -> None:
    now = 0.0
    bucket = Bucket(per_s, burst, now)
    taken = 0
    for pause in pauses:
        now += pause
        wait_s = bucket.take(now)
        taken += wait_s == 0
        assert taken <= burst + per_s * now + 1e-6
        if wait_s:
            assert wait_s <= 1 / per_s + 1e-6
            assert Bucket(per_s, burst, now).take(now) == 0
    assert bucket.take(now + burst / per_s + 1) == 0


def test_an_address_has_so_many_connections_and_leaving_makes_room() -> None:
    at = doors()
    for _ in range(3):
        come(at, "10.0.0.1")
    with pytest.raises(LimitError) as refused:
        at.knock("10.0.0.1", 0)
    assert refused.value.retry_after_s
    come(at, "10.0.0.2")
    at.leave("10.0.0.1", None)
    come(at, "10.0.0.1")
    assert at.count == 4


def test_a_user_has_so_many_and_a_full_node_says_to_go_elsewhere() -> None:
    at = doors(most=2)
    at.name("ann")
    at.name("ann")
    with pytest.raises(LimitError):
        at.name("ann")
    come(at, "a")
    come(at, "b")
    with pytest.raises(UnavailableError):
        at.knock("c", 0)
    at.leave("a", "ann")
    at.name("ann")
    at.knock("c", 0)


class There:
    """What other nodes say."""

    addresses = {"10.0.0.1": 2}
    users = {"ann": 1}


def test_over_all_nodes_there_are_bounds_too_and_they_follow_what_the_others_say() -> None:
    there = There()
    at = doors(total=3, elsewhere=there)
    come(at, "10.0.0.1")
    with pytest.raises(LimitError, match="3 connections to all nodes, and may have 3"):
        at.knock("10.0.0.1", 0)
    at.knock("10.0.0.2", 0)
    at.name("ann")
    at.name("bob")
    there.addresses, there.users = {}, {"ann": 2}
    come(at, "10.0.0.1")
    with pytest.raises(LimitError, match="3 connections to all nodes"):
        at.name("ann")
    at.name("bob")
    assert at.refused == {"address": 1, "user": 1}


def test_mutant_doors_that_do_not_ask_what_the_others_say(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = Doors._bound
    monkeypatch.setattr(Doors, "_bound", lambda self, whose, here, _, *most: bound(self, whose, here, 0, *most))
    with pytest.raises(pytest.fail.Exception):
        test_over_all_nodes_there_are_bounds_too_and_they_follow_what_the_others_say()


def test_who_knocks_too_often_waits_and_nobody_else() -> None:
    at = doors(per_s=2, burst=5)
    for _ in range(5):
        at.knock("a", 0)
    with pytest.raises(LimitError) as refused:
        at.knock("a", 0)
    assert refused.value.retry_after_s == pytest.approx(0.5)
    at.knock("b", 0)
    at.knock("a", 0.5)


def test_what_is_remembered_of_addresses_is_bounded() -> None:
    at = doors()
    for number in range(KNOWN + 500):
        at.knock(f"a{number}", 0)
    assert len(at._handshakes._by_name) == KNOWN


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("nonsense", ""),
    ],
)
def test_an_ipv6_network_counts_as_one_address(text: str, counted: str) -> None:
    assert network(text) == counted


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        # A client that says so itself is not believed.
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        # What the client put before its proxy's entry is its own invention.
        ("10.0.0.1", "192.0.2.7, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, rubbish", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        (None, "", "unknown"),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str | None, forwarded: str, address: str) -> None:
    assert Addresses(["10.0.0.0/8"]).of(peer, forwarded) == address


def test_a_total_follows_the_limit_of_a_node_unless_it_is_given() -> None:
    following = Limits(connections_per_user=7, connections_per_address=9)
    assert (following.connections_per_user_total, following.connections_per_address_total) == (7, 45)
    given_ = Limits(user_total=3, address_total=4)
    assert (given_.connections_per_user_total, given_.connections_per_address_total) == (3, 4)


async def test_every_limit_is_told_with_the_answer_to_connect(world: World) -> None:
    await world.start()
    client = world.client()
    await until(lambda: client.frames != [])
    told = client.messages[0]["limits"]
    assert told == {name: getattr(SMALL, name) for name in TOLD}


async def test_subscriptions_change_so_often_and_several_at_once_are_one(make_world: MakeWorld) -> None:
    world = make_world(replace(SMALL, changes_per_minute=60, changes_burst=3, matches=1000))
    names = [f"m{n}" for n in range(4, 40)]
    world.registry.update({name: match(name) for name in names})
    await world.start()
    client = world.client()
    client.say(id=2, type="subscribe", channels=[{"channel": f"match:{name}"} for name in names])
    for name in ("match:m0", "match:m1"):
        client.subscribe(name)
    for _ in range(20):
        client.say(id=3, type="unsubscribe", channel="match:m0")
    client.say(id=9, type="subscribe", channel="match:m2")
    await until(lambda: client.of_type("error") != [])
    [error] = client.of_type("error")
    assert (error["id"], error["code"]) == (9, "limit") and 0 < error["retry_after_ms"] <= 1000
    assert len(client.of_type("subscribed")) == len(names) + 2 and client.closed is None
    assert len(client.of_type("unsubscribed")) == 20
    assert world.delivery.doors.limited == {"changes": 1}


async def test_a_flood_of_commands_closes_the_connection(make_world: MakeWorld) -> None:
    world = make_world(replace(SMALL, commands_per_s=1, commands_burst=20))
    await world.start()
    client = world.client()
    for number in range(30):
        client.say(id=number, type="unsubscribe", channel="match:m0")
    await until(lambda: client.closed is not None)
    assert client.closed == (3013, "limit")
    assert world.delivery.doors.limited == {"commands": 1}
    # One of the burst was `connect`.
    assert len(client.of_type("unsubscribed")) == 19


async def test_a_user_with_too_many_connections_is_told_and_closed(make_world: MakeWorld) -> None:
    world = make_world(replace(SMALL, connections_per_user=2))
    await world.start()
    first, second, third = (world.client("good-ann") for _ in range(3))
    other = world.client("good-bob")
    await until(lambda: third.closed is not None)
    assert third.closed == (3013, "limit") and third.of_type("connected") == []
    assert first.of_type("connected") and second.of_type("connected") and other.of_type("connected")
    third.stop()
    first.stop()
    again = world.client("good-ann")
    await until(lambda: again.of_type("connected") != [])


async def test_the_handshake_says_429_and_503_before_anything_is_accepted(make_world: MakeWorld) -> None:
    world = make_world(replace(SMALL, connections_per_address=2, connections=3, trusted_proxies=("127.0.0.1/32",)))
    await world.start()
    app = Starlette(routes=world.delivery.routes(), exception_handlers=web.handlers())
    bound = bind("127.0.0.1", 0, exact=True, setting="port")
    url = f"ws://127.0.0.1:{bound.getsockname()[1]}/v1/stream"

    def from_(address: str) -> connect:
        headers = {"Authorization": "Bearer good", "X-Forwarded-For": address}
        return connect(url, subprotocols=[Subprotocol("eventhub.v1+json")], additional_headers=headers)

    async with Listener(app, bound), from_("198.51.100.1"), from_("198.51.100.1"):
        with pytest.raises(InvalidStatus) as refused:
            await from_("198.51.100.1")
        assert refused.value.response.status_code == 429
        assert refused.value.response.headers["retry-after"]
        async with from_("198.51.100.2"):
            with pytest.raises(InvalidStatus) as refused:
                await from_("198.51.100.3")
            assert refused.value.response.status_code == 503
    assert world.delivery.doors.refused == {"address": 1, "full": 1}


async def test_whoever_is_refused_is_counted_by_the_cause(make_world: MakeWorld) -> None:
    world = make_world(replace(SMALL, handshakes_per_s=0.001, handshakes_burst=4))
    await world.start()
    app = Starlette(routes=world.delivery.routes(), exception_handlers=web.handlers())
    bound = bind("127.0.0.1", 0, exact=True, setting="port")
    url = f"ws://127.0.0.1:{bound.getsockname()[1]}/v1/stream"
    statuses = []
    async with Listener(app, bound):
        for headers in (
            {"Origin": "https://evil.example"},
            {"Authorization": "Bearer bad"},
            {"Authorization": "Bearer good"},
            {"Authorization": "nonsense"},
            {"Authorization": "Bearer good"},
            {"Authorization": "Bearer good"},
        ):
            try:
                async with connect(
                    url, subprotocols=[Subprotocol("eventhub.v1+json")], additional_headers=headers, proxy=None
                ):
                    statuses.append(101)
            except InvalidStatus as refused:
                statuses.append(refused.response.status_code)
        # A client that says `connect` with a bad token is in already; it counts as well.
        late = world.client("bad")
        await until(lambda: late.closed is not None)
        await world.delivery.drain(0.1)
        try:
            async with connect(url, subprotocols=[Subprotocol("eventhub.v1+json")], proxy=None):
                statuses.append(101)
        except InvalidStatus as refused:
            statuses.append(refused.response.status_code)
    assert statuses == [403, 401, 101, 401, 101, 429, 503]
    assert world.delivery.doors.refused == {"origin": 1, "token": 3, "rate": 1, "draining": 1}


async def test_it_finds_out_doors_that_forget_who_leaves(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Doors, "leave", lambda *_: None)
    with pytest.raises(AssertionError):
        await test_a_user_with_too_many_connections_is_told_and_closed(make_world)
