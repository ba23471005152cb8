"""Operators freeze Postgres: writes are refused on every node, ingest and the live feed go on, history catches up."""

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import httpx2
import psycopg.errors
import pytest

from eventhub.storage import Pool
from tests.support import oracle
from tests.support.feed import RealMatch
from tests.support.nodes import NodeProcess, running
from tests.support.wait import until
from tests.system.checks import check_sheet, exactly_once, final, provider_events
from tests.system.conftest import Platform

MATCH = {"home": {"id": "h", "name": "H"}, "away": {"id": "a", "name": "A"}, "starts_at": "2026-07-01T19:00:00Z"}


async def operator_write(platform: Platform, node: NodeProcess) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=10) as http:
        headers = {"Authorization": f"Bearer {platform.admin_key}"}
        return await http.put(f"{node.url}/v1/matches/by-operator", json=MATCH, headers=headers)


async def put_mode(node: NodeProcess, if_match: str | None, **body: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=10) as http:
        headers = {} if if_match is None else {"If-Match": if_match}
        return await http.put(f"{node.admin_url}/v1/admin/mode", json=body, headers=headers)


def command(platform: Platform, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`eventhub …` as an operator runs it, against the platform's Kafka."""
    environ = {**platform.environ, "EVENTHUB_DATA_DIR": str(platform.folder / "operator"), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, "-m", "eventhub", *arguments], env=environ, capture_output=True, text=True, timeout=60
    )


@pytest.mark.timeout(180)
async def test_read_only_refuses_writes_while_the_live_feed_goes_on(
    platform: Platform, matches: list[RealMatch]
) -> None:
    match = matches[4]
    one, two = platform.node("one"), platform.node("two")
    async with running(one, two), platform.client(two) as client:
        source = platform.source(one, two)
        await source.declare("m", match)
        await client.subscribe("match:m", start="start")
        # The switch is tried on nodes that have shared their work out; rebalances have tests of their own.
        await until(lambda: shared_out(platform, one, two), "both nodes to have their partitions")
        frozen: list[int] = []

        async def freeze() -> None:
            """At 400 events: read-only by one node's port. At 900 live ones: a restart. At 1200: normal again."""
            sent = len(source.accepted["m"])
            if not frozen and sent > 400:
                assert (await put_mode(one, None, mode="read_only", reason="upgrade")).status_code == 428
                assert (await put_mode(one, '"7"', mode="read_only", reason="upgrade")).status_code == 412
                assert (await put_mode(one, '"0"', mode="read_only")).status_code == 422
                answer = await put_mode(one, '"0"', mode="read_only", reason="upgrade", actor="ann")
                assert (answer.status_code, answer.headers["etag"]) == (200, '"1"')
                for node in (one, two):
                    await until(lambda node=node: refused(platform, node), "the refusal of writes")  # type: ignore[misc]
                frozen.append(await settled(platform))
            if len(frozen) == 1 and sent > 900:
                await until(lambda: len(provider_events(client.events["match:m"])) > 800, "live events meanwhile")
                await one.end()
                one.start()
                await one.ready()
                assert await refused(platform, one), "a restarted node reads the mode first"
                frozen.append(await oracle.count(platform.dsn))
            if len(frozen) == 2 and sent > 1200:
                frozen.append(await oracle.count(platform.dsn))
                # In threads: a client whose loop stands still for 10 s takes its connection for dead.
                shown = await asyncio.to_thread(command, platform, "mode", "get", "--json")
                assert json.loads(shown.stdout)["reason"] == "upgrade"
                done = await asyncio.to_thread(command, platform, "mode", "set", "normal", "--reason", "done")
                assert (done.returncode, done.stdout) == (0, "normal\n"), done.stderr

        await asyncio.wait_for(source.play("m", match, batch=25, after=freeze), 120)
        assert len(frozen) == 3, "the mode was set, a node restarted, and the mode set back"
        assert frozen[0] == frozen[1] == frozen[2], "rows were written while the platform was read-only"
        assert frozen[0] < len(source.accepted["m"])
        # The live feed had it all, before history did.
        await exactly_once(platform, source, client)
        check_sheet(await final(platform, one, "m"), match.name)
        for node in (one, two):
            await until(lambda node=node: taken(platform, node), "operators' writes again")  # type: ignore[misc]
        told = [notice for _, notice in client.notices]
        assert [n["mode"] for n in told] == ["read_only", "normal"]
        assert (told[0]["affected"], told[0]["reason"], told[1]["affected"]) == (
            ["writes", "login", "refresh"],
            "upgrade",
            [],
        )
        assert client.connects[0]["mode"] == "normal"
        await source.close()


async def shared_out(platform: Platform, *nodes: NodeProcess) -> bool:
    """Every family of every node works on as many partitions as any other node's."""
    share = platform.partitions // len(nodes)
    families = ("enrichment", "history", "aggregation")
    return all([len(await node.owns(family)) == share for node in nodes for family in families])


async def refused(platform: Platform, node: NodeProcess) -> bool:
    answer = await operator_write(platform, node)
    if answer.status_code != 503:
        return False
    assert answer.json()["code"] == "read_only"
    assert answer.headers["eventhub-mode"] == "read_only"
    assert int(answer.headers["retry-after"]) >= 1
    return True


async def taken(platform: Platform, node: NodeProcess) -> bool:
    answer = await operator_write(platform, node)
    return answer.status_code in (200, 201) and answer.headers["eventhub-mode"] == "normal"


async def settled(platform: Platform) -> int:
    """How many rows there are, once what was under way is committed, and ten looks in a row found the same."""
    seen: list[int] = []
    refused_at = datetime.now(UTC)

    async def same() -> bool:
        if await oracle.open_since_before(platform.dsn, refused_at):
            seen.clear()
            return False
        seen.append(await oracle.count(platform.dsn))
        return len(seen) >= 10 and len(set(seen[-10:])) == 1

    await until(same, "history to pause")
    return seen[-1]


async def test_every_session_of_a_pool_refuses_writes_and_takes_them_again(database: str) -> None:
    await refuses_and_takes(database)


async def test_mutant_a_pool_that_is_told_nothing_writes_on(database: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        await refuses_and_takes(database, told=False)


async def refuses_and_takes(database: str, *, told: bool = True) -> None:
    read_only = [False]
    pool = Pool(database, "test", size=2, statement_timeout_s=5, read_only=lambda: told and read_only[0])
    await pool.open()
    async with pool.connection() as first, pool.connection() as second:
        for connection in (first, second):
            await connection.execute("create table if not exists t (n int)")
    read_only[0] = True
    async with pool.connection() as first, pool.connection() as second:
        for connection in (first, second):
            assert await (await connection.execute("select count(*) from t")).fetchone() == (0,)
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                await connection.execute("insert into t values (1)")
    read_only[0] = False
    async with pool.connection() as connection:
        await connection.execute("insert into t values (1)")
    await pool.close()
