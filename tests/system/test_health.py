"""Whole nodes: a probe names what stands still, and only that; the cluster's status; the watchdog of a real node."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from eventhub.tasks import end
from tests.cli.process import run
from tests.conftest import join_on
from tests.drills import health
from tests.drills.health import (
    FAMILIES,
    WEDGE,
    WEDGED,
    Feed,
    admin,
    caught_up,
    dead,
    events_told,
    health_node,
    live_while_blocked_by,
    status,
)
from tests.support.feed import RealMatch
from tests.support.nodes import NodeProcess, running
from tests.support.wait import until
from tests.system.conftest import Platform

pytestmark = pytest.mark.own_services

STUCK_AFTER_S = 6.0
MUTANTS = "tests.drills.mutants"


@pytest.mark.parametrize("how", ["hang", "swallow"])
async def test_one_wedged_partition_of_eight_is_named_and_the_others_go_on(
    platform: Platform, matches: list[RealMatch], how: str
) -> None:
    after_s = await health.wedged(platform, matches[0], how, stuck_after_s=STUCK_AFTER_S, within_s=60)
    assert after_s >= STUCK_AFTER_S


async def test_it_finds_out_a_node_whose_progress_anywhere_excuses_all(
    platform: Platform, matches: list[RealMatch]
) -> None:
    program = (MUTANTS, "one-for-all")
    with pytest.raises(pytest.fail.Exception, match="the wedged partition to be found"):
        await health.wedged(
            platform, matches[0], "hang", stuck_after_s=STUCK_AFTER_S, within_s=4 * STUCK_AFTER_S, program=program
        )


@pytest.mark.timeout(240)
async def test_a_node_that_waits_for_the_mode_postgres_or_kafka_is_live_and_says_so(
    platform: Platform, matches: list[RealMatch], own_folder: Path
) -> None:
    node = health_node(platform, "one", stuck_after_s=STUCK_AFTER_S)
    blocked_by = partial(live_while_blocked_by, node, for_s=2 * STUCK_AFTER_S)
    async with running(node):
        feed = Feed(platform, node, matches[0])
        await feed.declare()
        await feed.more()

        async def mode(**wanted: Any) -> None:
            async with httpx2.AsyncClient(timeout=10) as http:
                answer = await http.put(f"{node.admin_url}/v1/admin/mode", json=wanted, headers={"If-Match": "*"})
                assert answer.status_code == 200, answer.text

        await mode(mode="read_only", reason="test")
        await feed.more()
        await blocked_by("mode", ["history"])
        await mode(mode="normal")
        await caught_up(node, platform.partitions)

        await health.stopped(platform)
        await feed.more()
        await blocked_by("postgres", ["history"])
        assert (await admin(node, "/readyz")).status_code == 200
        healed = join_on(own_folder)
        await caught_up(node, platform.partitions)

        os.kill(platform.services.pid("kafka"), signal.SIGSTOP)
        try:
            await blocked_by("kafka", FAMILIES)
            assert (await admin(node, "/readyz")).status_code == 200
            assert (await status(node))["cluster"]["unowned"] is None
        finally:
            os.kill(platform.services.pid("kafka"), signal.SIGCONT)
        await feed.more()
        await caught_up(node, platform.partitions)
        assert "stuck" not in events_told(node)
        await feed.source.close()
        healed.leave()


async def test_it_finds_out_a_node_that_asks_for_a_restart_because_postgres_is_away(
    platform: Platform, matches: list[RealMatch], own_folder: Path
) -> None:
    heal = partial(join_on, own_folder)
    try:
        with pytest.raises(AssertionError, match="503 while postgres is away"):
            await health.away(
                platform,
                matches[0],
                heal,
                down_s=2 * STUCK_AFTER_S,
                stuck_after_s=STUCK_AFTER_S,
                program=(MUTANTS, "no-excuse"),
            )
    finally:
        (await asyncio.to_thread(heal)).leave()


@pytest.mark.timeout(180)
async def test_the_status_of_any_node_shows_the_whole_cluster(platform: Platform) -> None:
    one, two = (
        health_node(platform, name, stuck_after_s=STUCK_AFTER_S, shared=platform.folder / "both")
        for name in ("one", "two")
    )
    async with running(one, two):

        def seen(node: NodeProcess, wanted: Callable[[list[str], Any], bool]) -> Callable[[], Any]:
            async def look() -> bool:
                cluster = (await status(node))["cluster"]
                return wanted([n["state"] for n in cluster["nodes"]], cluster)

            return look

        for node in (one, two):
            await until(seen(node, lambda states, c: states == ["alive"] * 2 and c["unowned"] == {}), "both nodes")

        async def shared() -> bool:
            # Each node tells its own share at its own time, so that after a rebalance they may overlap for a moment,
            # or miss some; and families are shared out one after another.
            told = (await status(one))["cluster"]["nodes"]
            return all(
                sorted(p for n in told for p in n["families"][family]["partitions"]) == list(range(platform.partitions))
                for family in FAMILIES
            )

        await until(shared, "every partition to have one owner")
        nodes = (await status(one))["cluster"]["nodes"]
        shown = (await asyncio.to_thread(run, "status", "--admin", one.admin_url)).stdout
        assert all(f"  {n['node']}\n    state        ready, normal\n" in shown for n in nodes)
        assert "unowned  none" in shown
        two.freeze()
        try:
            await until(
                seen(one, lambda states, _: sorted(states) == ["alive", "silent"]), "the frozen node to be silent"
            )
        finally:
            two.wake()
        await until(seen(one, lambda states, c: states == ["alive"] * 2 and c["unowned"] == {}), "it to be back")
        assert not await dead(two), "a freeze is no reason for a restart"
        assert await two.end() == 0
        await until(
            seen(one, lambda states, c: states == ["alive"] and c["unowned"] == {}), "the node that ended to be gone"
        )


@pytest.mark.timeout(180)
async def test_a_node_whose_loop_stands_still_says_where_and_ends(platform: Platform, matches: list[RealMatch]) -> None:
    flag = platform.folder / "wedge"
    node = health_node(platform, "one", *WEDGE, str(flag), stuck_after_s=STUCK_AFTER_S)
    async with running(node):
        feed = Feed(platform, node, matches[0])
        await feed.declare()
        flag.write_text(f"enrichment {WEDGED} block")
        posting = asyncio.create_task(feed.more())
        process = psutil.Process(node.pid)
        await until(lambda: process.status() == psutil.STATUS_ZOMBIE, "the process to end")
        assert process.wait(10) == 70
        await end(posting)
        told = [json.loads(line) for line in node.tail(10_000).splitlines() if line.startswith("{")]
        (dump,) = [one for one in told if one["event"] == "the event loop stands still"]
        assert any("stand_still" in line for stack in dump["stacks"].values() for line in stack)
        await feed.source.close()
