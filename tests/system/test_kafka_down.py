"""Kafka freezes, and is killed and started again, under a node that lives on: nothing lost, nothing twice."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.conftest import join_on
from tests.support.feed import RealMatch
from tests.support.nodes import running
from tests.support.wait import until
from tests.system.checks import check_sheet, exactly_once, final
from tests.system.conftest import Platform

pytestmark = pytest.mark.own_services

FROZEN_S = 5


@pytest.mark.timeout(180)
async def test_a_node_outlives_a_frozen_and_a_killed_kafka(
    platform: Platform, matches: list[RealMatch], own_folder: Path
) -> None:
    node = platform.node("one")
    loop = asyncio.get_running_loop()
    done: list[str] = []
    async with running(node), platform.client(node) as client:
        source = platform.source(node)
        for match in matches[:2]:
            await source.declare(match.name, match)
            await client.subscribe(f"match:{match.name}", start="start")

        async def faults() -> None:
            sent = sum(map(len, source.accepted.values()))
            if not done and sent > 600:
                done.append("frozen")
                pid, until_at = platform.services.pid("kafka"), loop.time() + FROZEN_S
                os.kill(pid, signal.SIGSTOP)
                await until(lambda: loop.time() > until_at, "Kafka to have been frozen")
                os.kill(pid, signal.SIGCONT)
            if done == ["frozen"] and sent > 1500:
                done.append("killed")
                os.kill(platform.services.pid("kafka"), signal.SIGKILL)
                healed.append(await asyncio.to_thread(join_on, own_folder))

        healed: list[object] = []
        await asyncio.wait_for(
            asyncio.gather(*(source.play(m.name, m, batch=50, after=faults) for m in matches[:2])), 150
        )
        assert done == ["frozen", "killed"]
        await exactly_once(platform, source, client)
        # Frozen for longer than 2 s, which no client can tell from quiet by itself; and killed, perhaps for less.
        told = [notice for _, notice in client.notices]
        assert (told[0]["mode"], told[0]["affected"]) == ("degraded", ["kafka"])
        await until(lambda: client.notices[-1][1]["mode"] == "normal", "the notice that Kafka is back")
        assert client.connections == 1, "a socket is never dropped because a dependency is down"
        for match in matches[:2]:
            check_sheet(await final(platform, node, match.name), match.name)
        await source.close()
        for share in healed:
            share.leave()  # type: ignore[attr-defined]
