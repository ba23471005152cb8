"""A node under hostile input: what it has stored, its memory, and a client beside it that must notice nothing."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import NamedTuple

import httpx2
import psutil
import psycopg

from eventhub import kafka, topics
from tests import corpus_cases as cases
from tests.corpus_run import Runner, Target
from tests.support.clients import Client
from tests.support.nodes import NodeProcess
from tests.support.wait import until

GROWTH_BYTES = 200 << 20
"""Largest growth of the node's memory over a group: several bodies at their limit, and what they become."""
LIVE = "live"
PACE_S = 0.02
RAW = (topics.SENSORS, topics.BROADCAST, topics.SOCIAL)


class Scene(NamedTuple):
    """One node with its services, credentials, and the names of the corpus."""

    node: NodeProcess
    cluster: kafka.Kafka
    dsn: str
    target: Target

    async def declare(self, match_id: str) -> None:
        """A match that began two hours ago; the corpus has its teams."""
        match = {
            "home": {"id": "h", "name": "Home"},
            "away": {"id": "a", "name": "Away"},
            "starts_at": datetime.now(UTC).isoformat(),
        }
        url, headers = f"{self.target.url}/v1/matches/{match_id}", self.target.credentials("admin")
        async with httpx2.AsyncClient() as http:
            assert (await http.put(url, json=match, headers=headers)).status_code == 201

    async def ends(self, *names: str) -> int:
        """How many records these topics have ever had."""
        offsets = kafka.Offsets(self.cluster)
        await offsets.open()
        try:
            return sum([sum((await offsets.ends(name, 8)).values()) for name in names])
        finally:
            await offsets.close()

    async def stored(self) -> set[str]:
        """Ids of all events of history that a source sent."""
        async with await psycopg.AsyncConnection.connect(self.dsn) as connection:
            found = await connection.execute("select event_id::text from events where type <> 'state'")
            return {row[0] for row in await found.fetchall()}

    async def flawed(self) -> int:
        """Rows of history that Postgres could not take as they were."""
        async with await psycopg.AsyncConnection.connect(self.dsn) as connection:
            row = await (await connection.execute("select count(*) from events where flaw is not null")).fetchone()
            assert row is not None
            return int(row[0])


class Feed:
    """An honest source beside the corpus: one event after another into one match, each until it is accepted."""

    def __init__(self, target: Target) -> None:
        self.ids: list[str] = []
        self._target = target
        self._stopping = False

    async def run(self) -> None:
        url, headers = f"{self._target.url}/v1/ingest/broadcast", self._target.credentials("broadcast")
        async with httpx2.AsyncClient(timeout=30) as http:
            while not self._stopping:
                event = cases.valid({**self._target.names, "MATCH": LIVE}, match_id=LIVE)
                answer = await http.post(url, content=event, headers=headers)
                assert answer.status_code == 202, f"an honest source was refused: {answer.status_code} {answer.text}"
                self.ids += [item["event_id"] for item in answer.json()["items"]]
                await asyncio.sleep(PACE_S)

    def stop(self) -> None:
        """End with the event that is under way."""
        self._stopping = True


@contextlib.asynccontextmanager
async def unharmed(scene: Scene) -> AsyncIterator[Runner]:
    """Run cases inside; on exit everything that the node promises under hostile input is checked."""
    names = (*RAW, topics.DEAD, topics.REGISTRY)
    raw, dead, declared = [await scene.ends(*n) for n in (RAW, names[3:4], names[4:])]
    stored, logged = await scene.stored(), scene.node.log_path.stat().st_size
    runner, feed = Runner(scene.target), Feed(scene.target)
    async with Client([scene.node.url], scene.target.token) as watcher, _memory(scene.node.pid) as memory:
        await watcher.subscribe(f"match:{LIVE}")
        await until(lambda: watcher.states[f"match:{LIVE}"], "the honest client's state")
        playing = asyncio.create_task(feed.run())
        try:
            yield runner
        finally:
            feed.stop()
            await playing
            await runner.close()
        assert not runner.wrong, f"{len(runner.wrong)} of {runner.cases}:\n" + "\n".join(runner.wrong[:60])
        assert runner.cases
        taken = [*runner.accepted, *feed.ids]
        assert await scene.ends(*RAW) - raw == len(taken), "raw topics hold more or less than was accepted"
        await until(lambda: _has(scene, stored, set(taken)), "history to hold what was accepted, and nothing else", 30)
        await until(lambda: set(feed.ids) <= set(_ids(watcher)), "the honest client to have all events")
    # Its state may be older than its subscription: what comes before is known from before.
    got = [event_id for event_id in _ids(watcher) if event_id not in stored]
    assert got == feed.ids, "the honest client's events are not those sent, in order"
    assert watcher.connections == 1 and not watcher.errors and not watcher.resets
    assert await scene.ends(topics.DEAD) == dead, "something went to the dead letters"
    assert await scene.ends(topics.REGISTRY) == declared, "a match was declared"
    assert await scene.flawed() == 0, "history could not take a row as it was"
    assert max(memory) - memory[0] < GROWTH_BYTES, f"the node grew by {(max(memory) - memory[0]) >> 20} MiB"
    await _still_well(scene, logged, runner)


async def _has(scene: Scene, before: set[str], taken: set[str]) -> bool:
    return await scene.stored() - before == taken


async def _still_well(scene: Scene, logged: int, runner: Runner) -> None:
    async with httpx2.AsyncClient() as http:
        assert (await http.get(f"{scene.node.admin_url}/readyz")).status_code == 200
    said = scene.node.log_path.read_bytes()[logged:].decode(errors="replace")
    assert "Traceback" not in said and '"level": "error"' not in said, said[-3000:]
    secrets = [*scene.target.keys.values(), scene.target.token().rpartition(".")[0]]
    for secret in secrets:
        assert not any(secret.encode() in answer for answer in runner.answers), "an answer holds a secret"
        assert secret not in said, "the log holds a secret"
    assert not any(answer.startswith(b"HTTP/1.1 5") for answer in runner.answers), "an answer is a 5xx"


@contextlib.asynccontextmanager
async def _memory(pid: int) -> AsyncIterator[list[int]]:
    """The resident bytes of a process, looked at many times a second."""
    process = psutil.Process(pid)
    seen = [process.memory_info().rss]

    async def look() -> None:
        while True:
            seen.append(process.memory_info().rss)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(look())
    try:
        yield seen
    finally:
        task.cancel()


def _ids(watcher: Client) -> list[str]:
    """Ids of the source's own events that the client got, in the order in which they came."""
    events = map(json.loads, watcher.events[f"match:{LIVE}"])
    return [event["event_id"] for event in events if event["source"] == "broadcast"]
