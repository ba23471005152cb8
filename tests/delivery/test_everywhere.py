"""Bounds over all nodes: two nodes' deliveries on one Valkey, which is then frozen."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from eventhub.delivery.doors import Doors
from eventhub.storage import counts
from eventhub.storage.counts import Counts
from eventhub.tasks import end
from tests.delivery.world import SMALL, World, until
from tests.support.valkeys import Server

TOTALS = replace(SMALL, connections_per_user=3, user_total=4)


@asynccontextmanager
async def node(server: Server, name: str) -> AsyncIterator[tuple[World, Counts]]:
    known = Counts(server.url, node=name, own=lambda: world.delivery.doors)
    world = World(TOTALS, known)
    await world.start()
    asking = asyncio.create_task(known.run())
    try:
        yield world, known
    finally:
        await end(asking)
        await known.close()
        await world.stop()


async def everywhere(folder: Path) -> None:
    """A user has 3 connections on one node, 1 on the other, and then none more, until Redis is away."""
    server = Server(folder)
    try:
        async with node(server, "n1") as (one, _), node(server, "n2") as (two, known):
            first = [one.client("good-ann") for _ in range(3)]
            await until(lambda: known.users == {"good-ann": 3}, "the second node to know")
            fourth, fifth = two.client("good-ann"), two.client("good-ann")
            other = two.client("good-bob")
            assert fourth.of_type("connected") and other.of_type("connected")
            assert fifth.closed == (3013, "limit"), "a user has more connections than all nodes together give"
            assert "4 connections to all nodes" in fifth.of_type("error")[0]["message"]
            assert two.delivery.doors.refused == {"user": 1}
            server.freeze()
            await until(lambda: not known.users, "the second node to count alone")
            sixth = two.client("good-ann")
            assert sixth.of_type("connected"), "while Redis is away each node has its own bounds"
            sixth.stop()
            server.wake()
            await until(lambda: known.users == {"good-ann": 3}, "the second node to know again")
            first[0].stop()
            await until(lambda: known.users == {"good-ann": 2}, "the second node to know who left")
            assert two.client("good-ann").of_type("connected")
            assert not any(client.closed for client in (*first, fourth, other))
    finally:
        server.kill()


async def test_a_user_is_bounded_over_all_nodes_and_nobody_goes_when_redis_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "EVERY_S", 0.1)
    await everywhere(tmp_path)


async def test_mutant_each_node_looks_only_at_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "EVERY_S", 0.1)
    bound = Doors._bound
    monkeypatch.setattr(Doors, "_bound", lambda self, whose, here, _, *most: bound(self, whose, here, 0, *most))
    with pytest.raises(AssertionError, match="more connections than all nodes"):
        await everywhere(tmp_path)
