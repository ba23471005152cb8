"""A match that another node has just declared is there at once: for subscribers and readers of every node."""

import pytest

from eventhub.delivery.channels import Channels
from tests.delivery.memory import match
from tests.delivery.world import World, until


@pytest.fixture
async def started(world: World) -> World:
    """A node on which m0 to m3 are known, and m9 of team t9 is declared on another node only."""
    await world.start()
    world.declared_elsewhere["m9"] = match("m9", "t9", "t8")
    return world


@pytest.mark.parametrize("channel", ["match:m9", "team:t9"])
async def test_its_channels_can_be_subscribed(started: World, channel: str) -> None:
    client = started.client()
    client.subscribe(channel, from_="start")
    await until(lambda: client.of_type("subscribed") != [])
    started.log.append("m9")
    await until(lambda: len(client.ids) == 1)
    assert (started.asked, client.of_type("error")) == (1, [])


async def test_it_finds_out_a_node_that_does_not_ask(started: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channels, "may_be", lambda *_: False)
    with pytest.raises(AssertionError, match="did not come true"):
        await test_its_channels_can_be_subscribed(started, "match:m9")


async def test_what_no_node_declared_is_unknown_and_what_can_be_no_match_is_not_asked_for(started: World) -> None:
    client = started.client()
    for channel in ("match:nobody", "match:", "news:m9"):
        client.subscribe(channel)
    await until(lambda: len(client.of_type("error")) == 3)
    assert {e["channel"]: e["code"] for e in client.of_type("error")} == dict.fromkeys(
        ("match:nobody", "match:", "news:m9"), "unknown_channel"
    )
    assert started.asked == 1


async def test_a_channel_that_is_asked_for_can_be_left_and_not_be_subscribed_twice(started: World) -> None:
    client = started.client()
    started.asking.clear()
    client.subscribe("match:m9")
    client.subscribe("match:m9")
    await until(lambda: [e["code"] for e in client.of_type("error")] == ["already_subscribed"])
    client.say(id=3, type="unsubscribe", channel="match:m9")
    started.asking.set()
    client.subscribe("match:m0")
    await until(lambda: client.of_type("subscribed") != [])
    assert [m["channel"] for m in client.of_type("subscribed")] == ["match:m0"]


async def test_a_client_that_goes_while_it_is_asked_leaves_nothing_behind(started: World) -> None:
    client = started.client()
    started.asking.clear()
    client.subscribe("match:m9")
    await until(lambda: started.asked == 1)
    client.stop()
    started.asking.set()
    await until(lambda: not client.connection.subscriptions._catching)
    assert client.connection.subscriptions._followers == {}
