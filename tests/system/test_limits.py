"""Bounds over two nodes, one of which is killed; then Redis freezes, which operators see and no client does.

And many hostile clients beside a few who watch and are served on; `make drill ONLY=attack` is the full form.
"""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import psutil
import pytest
import websockets

from tests.drills import attack
from tests.drills.attack import Size
from tests.drills.outage import mutated
from tests.support.feed import RealMatch
from tests.support.nodes import NodeProcess, running
from tests.support.wait import until
from tests.system.conftest import Platform

pytestmark = pytest.mark.own_services

TOTAL = 3
SMALL = Size(each=20, crowd=60, fans=4, window_s=2)


def connecting(platform: Platform, node: NodeProcess) -> websockets.connect:
    return websockets.connect(
        node.url.replace("http", "ws", 1) + "/v1/stream",
        subprotocols=[websockets.Subprotocol("eventhub.v1+json")],
        additional_headers={"Authorization": f"Bearer {platform.token()}"},
        proxy=None,
    )


async def asked(platform: Platform, node: NodeProcess) -> int:
    """The status of one more connection, which is closed at once."""
    try:
        async with connecting(platform, node):
            return 101
    except websockets.InvalidStatus as refused:
        return refused.response.status_code


async def status(node: NodeProcess) -> dict[str, Any]:
    async with httpx2.AsyncClient(timeout=5) as http:
        assert (await http.get(f"{node.admin_url}/livez")).status_code == 200
        found: dict[str, Any] = (await http.get(f"{node.admin_url}/status")).json()
        return found


@pytest.mark.timeout(120)
async def test_nodes_count_together_and_a_frozen_redis_drops_nobody(
    platform: Platform, matches: list[RealMatch]
) -> None:
    redis = platform.services.addresses.redis
    assert redis
    settings = {
        **platform.environ,
        "EVENTHUB_REDIS__URL": redis,
        "EVENTHUB_DELIVERY__CONNECTIONS_PER_USER_TOTAL": str(TOTAL),
    }
    one, two = (NodeProcess(name, platform.folder, settings) for name in ("one", "two"))
    async with running(one, two), AsyncExitStack() as here:
        async with AsyncExitStack() as there:
            for _ in range(TOTAL):
                await there.enter_async_context(connecting(platform, one))

            async def refused() -> bool:
                return await asked(platform, two) == 429

            await until(refused, "the second node to know who is at the first", 10)
            one.kill()

        async def taken() -> bool:
            return await asked(platform, two) == 101

        await until(taken, "what the killed node counted to end with its lease", 15)
        client = await here.enter_async_context(platform.client(two))
        await platform.source(two).declare("m", matches[0])
        await client.subscribe("match:m", start="start")
        await until(lambda: client.recovered, "the client to be subscribed", 10)
        valkey = psutil.Process(platform.services.pid("valkey"))
        os.kill(valkey.pid, signal.SIGSTOP)
        try:

            async def known() -> bool:
                return "redis" in (await status(two))["degraded"]

            await until(known, "operators to see that Redis is away", 10)
            assert valkey.status() == psutil.STATUS_STOPPED
            async with asyncio.timeout(1):
                assert await asked(platform, two) == 101, "a handshake waits for nobody"
            async with httpx2.AsyncClient(timeout=5) as http:
                assert 'eventhub_degraded{cause="redis"} 1.0' in (await http.get(f"{two.admin_url}/metrics")).text
        finally:
            os.kill(valkey.pid, signal.SIGCONT)

        async def over() -> bool:
            return not (await status(two))["degraded"]

        await until(over, "Redis to be back", 15)
        assert (client.connections, client.notices) == (1, [])


async def test_an_attack_is_held_and_who_watches_stays(platform: Platform, matches: list[RealMatch]) -> None:
    figures = await attack.attacked(platform, matches[0], SMALL, pairs=1)
    assert figures.pairs[0][1].deliveries > 0


async def test_it_finds_out_a_node_without_limits(platform: Platform, matches: list[RealMatch]) -> None:
    size = SMALL._replace(wait_s=4)
    with pytest.raises(AssertionError, match="60 connections of one address at once"):
        await attack.attacked(platform, matches[0], size, pairs=1, program=mutated("no-limits"))
