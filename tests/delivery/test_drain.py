"""A node that ends sends its clients away, with cursors that lose nothing, no faster than others can take them."""

import asyncio
import time
from collections import Counter
from dataclasses import replace

import pytest

from eventhub.delivery.connection import Connection
from eventhub.errors import UnavailableError
from tests.delivery.conftest import MakeWorld
from tests.delivery.world import SMALL, Client, World, until

PER_S, CLIENTS = 200, 100
BOUNDED = replace(SMALL, reconnects_per_s=PER_S)
BUCKET_S = 0.1


class Leaving(Client):
    """Notes when it is told to come back."""

    back_s = 0.0

    def end(self, code: int, reason: str) -> None:
        super().end(code, reason)
        self.back_s = asyncio.get_running_loop().time() + self.of_type("reconnect")[0]["in_ms"] / 1000


async def come_back(world: World, client: type[Leaving] = Leaving) -> None:
    """Everybody is sent away in a moment, and comes back at a bounded rate."""
    await world.start()
    clients = [client(world.delivery._enter(None)) for _ in range(CLIENTS)]
    for number, one in enumerate(clients):
        one.say(id=1, type="connect", token=f"good{number}")
        one.subscribe("match:m0")
    world.log.append("m0")
    await until(lambda: all(one.ids == ["0-0"] for one in clients), "everybody to have the event")
    began_s = asyncio.get_running_loop().time()
    await world.delivery.drain(0.1)
    await until(lambda: all(one.closed == (3001, "draining") for one in clients), "everybody to be sent away")
    at = Counter(int((one.back_s - began_s) / BUCKET_S) for one in clients)
    assert max(at.values()) <= PER_S * BUCKET_S * 1.5, "they come back all at once"
    assert {one.of_type("reconnect")[0]["cursors"]["match:m0"] for one in clients} == {"e1.0.0"}


async def test_they_come_back_at_a_bounded_rate(make_world: MakeWorld) -> None:
    await come_back(make_world(BOUNDED))


class Blocking(Leaving):
    """The tenth of them keeps the loop, as it leaves, for as long as all may take to come back."""

    left = 0

    def end(self, code: int, reason: str) -> None:
        super().end(code, reason)
        Blocking.left += 1
        if Blocking.left == 10:
            time.sleep(CLIENTS / PER_S)


async def test_they_do_so_of_a_node_that_stands_still_meanwhile(make_world: MakeWorld) -> None:
    Blocking.left = 0
    await come_back(make_world(BOUNDED), Blocking)
    assert Blocking.left == CLIENTS


async def test_mutant_nobody_is_told_to_wait(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    away = Connection.send_away
    monkeypatch.setattr(Connection, "send_away", lambda self, code, reason, **_: away(self, code, reason))
    with pytest.raises(AssertionError, match="all at once"):
        await come_back(make_world(BOUNDED))


async def test_the_node_is_not_ready_before_the_first_one_goes(world: World) -> None:
    await world.start()
    client = world.client()
    draining = asyncio.create_task(world.delivery.drain(0.1))
    await until(lambda: client.closed is not None, "the first one to go")
    assert not world.delivery.ready and world.delivery.draining
    with pytest.raises(UnavailableError, match="draining"):
        world.delivery._knock("10.0.0.1")
    client.stop()
    await asyncio.wait_for(draining, 5)
