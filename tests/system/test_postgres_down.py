"""Postgres is down for 30 s amid a match, and a node restarts meanwhile: the live feed goes on, history follows."""

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.conftest import join_on
from tests.support import oracle
from tests.support.feed import RealMatch
from tests.support.nodes import running
from tests.support.wait import until
from tests.system.checks import check_sheet, exactly_once, final, provider_events
from tests.system.conftest import Platform

pytestmark = pytest.mark.own_services

DOWN_S = 30


@pytest.mark.timeout(180)
async def test_the_live_feed_outlives_postgres_and_history_catches_up(
    platform: Platform, matches: list[RealMatch], own_folder: Path
) -> None:
    match = matches[0]
    node = platform.node("one")
    loop = asyncio.get_running_loop()
    async with running(node), platform.client(node) as client:
        source = platform.source(node)
        await source.declare("m", match)
        await client.subscribe("match:m", start="start")
        postmaster = psutil.Process(platform.services.pid("postgres"))
        down_at: list[float] = []

        async def pace() -> None:
            sent = len(source.accepted["m"])
            if not down_at and sent > 400:
                await until(lambda: len(client.events["match:m"]) > 200, "the first events")
                os.kill(postmaster.pid, signal.SIGINT)
                await until(lambda: not postmaster.is_running(), "Postgres to stop")
                down_at.append(loop.time())
            if len(down_at) == 1 and sent > 800:
                await until(
                    lambda: len(provider_events(client.events["match:m"])) > 700, "live events while it is down"
                )
                assert await node.end() == 0
                node.start()
                await node.ready()
                down_at.append(loop.time())

        playing = asyncio.create_task(source.play("m", match, batch=20, after=pace))
        await asyncio.wait_for(playing, 90)
        assert len(down_at) == 2, "Postgres was stopped, and the node restarted while it was down"
        count = len(match.feed.records)
        await until(lambda: len(provider_events(client.events["match:m"])) == count, "the whole match, live")
        check_sheet(await final(platform, node, "m"), match.name)
        # What Postgres had is read from this node's memory or from the log.
        page = await platform.get(node, "/v1/matches/m/events?limit=1000")
        assert len(page["items"]) == 1000
        await until(lambda: loop.time() > down_at[0] + DOWN_S, "30 s to pass")
        assert not postmaster.is_running()
        healed = join_on(own_folder)
        await exactly_once(platform, source, client)
        await until(lambda: client.notices[-1][1]["mode"] == "normal", "the notice that Postgres is back")
        # Once when it went, once to the client that came to the restarted node, and when it was back.
        told = [(notice["mode"], notice["affected"]) for _, notice in client.notices]
        assert told == [("degraded", ["postgres", "login", "refresh"])] * 2 + [("normal", [])]
        assert len(provider_events([b for _, _, b in (await oracle.history(platform.dsn))["m"]])) == count
        await source.close()
        healed.leave()
