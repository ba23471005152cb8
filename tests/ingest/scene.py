"""The routes of ingest as an application of their own, on a real Kafka."""

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import msgspec
from starlette.applications import Starlette

from eventhub import auth, ingest, kafka, mode, topics, web
from eventhub.embedded import Services
from eventhub.errors import EventhubError
from eventhub.events import Match, Team
from eventhub.record import Outgoing

NOW = datetime(2026, 7, 1, 19, tzinfo=UTC)
LIMITS = ingest.Limits(max_body_bytes=100_000, max_items=50, max_depth=8, ack_timeout_s=2)


class Scene(NamedTuple):
    http: httpx2.AsyncClient
    keys: dict[str, str]
    cluster: kafka.Kafka
    mode: mode.Mode
    gate: ingest.Gate
    window: ingest.Window

    async def post(self, path: str, body: bytes, key: str = "broadcast", **headers: str) -> httpx2.Response:
        authorization = {"Authorization": f"Bearer {self.keys.get(key, key)}"}
        return await self.http.post(path, content=body, headers=authorization | headers)

    async def get(self, path: str, key: str = "broadcast") -> httpx2.Response:
        return await self.http.get(path, headers={"Authorization": f"Bearer {self.keys.get(key, key)}"})

    async def declare_elsewhere(self, match_id: str) -> None:
        """What another node writes when it is told of a match."""
        match = Match(match_id, Team("h", "H"), Team("a", "A"), NOW)
        writer = kafka.Writer(self.cluster)
        await writer.open()
        record = Outgoing(match_id.encode(), msgspec.json.encode(match), [])
        await writer.append(topics.REGISTRY, kafka.Partitioner(8)(match_id), [record], timeout_s=10)
        await writer.close()

    async def raw(self) -> list[str]:
        """Source ids on the broadcast topic, partition by partition."""
        found = []
        for partition in range(8):
            async for records in kafka.read_range(self.cluster, topics.BROADCAST, partition, 0):
                found += [json.loads(r.value)["source_event_id"] for r in records]
        return found


@asynccontextmanager
async def scene_with(limits: ingest.Limits, cluster: kafka.Kafka, folder: Path) -> AsyncIterator[Scene]:
    keys, registry, secrets = auth.Keys(), ingest.Registry(), {}
    for source in auth.SOURCES:
        secrets[source], key = auth.new_key(source, NOW)
        keys.fold(*auth.record_key(key))
    writer = kafka.Writer(cluster)
    await writer.open()
    table = kafka.Table(cluster, topics.REGISTRY, 8, registry.fold)
    await table.open()

    async def caught_up() -> None:
        await table.open()

    now_mode = mode.Mode(folder / "mode.json", lambda: NOW)
    now_mode.settle()
    partitioner = kafka.Partitioner(8)
    carrier = ingest.Carrier(writer, partitioner, None, lost=lambda: False, timeout_s=limits.ack_timeout_s)
    gate, room = ingest.Gate(limits), ingest.Window()
    node = ingest.Node(
        name="n1",
        keys=keys,
        mode=now_mode,
        registry=registry,
        known=ingest.Known(),
        registry_caught_up=caught_up,
        writer=writer,
        carriers=dict.fromkeys(topics.SOURCE_TOPIC, carrier),
        partitioner=partitioner,
        adapters=ingest.adapters.load(),
        limits=limits,
        gate=gate,
        window=room,
        now=lambda: NOW,
    )
    app = Starlette(routes=ingest.routes(node), exception_handlers={EventhubError: web.on_error})
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://node") as http:
        made = Scene(http, secrets, cluster, now_mode, gate, room)
        match = {"home": {"id": "h", "name": "H"}, "away": {"id": "a", "name": "A"}, "starts_at": NOW.isoformat()}
        headers = {"Authorization": f"Bearer {secrets['admin']}"}
        assert (await http.put("/v1/matches/m1", json=match, headers=headers)).status_code in (200, 201)
        yield made
    await table.close()
    await writer.close()


def event(number: str, **changes: Any) -> bytes:
    given = {"match_id": "m1", "type": "pass", "occurred_at": NOW.isoformat(), "source_event_id": number}
    return json.dumps(given | changes).encode()


@contextmanager
def frozen(services: Services) -> Any:
    """Kafka does not answer."""
    pid = services.pid("kafka")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
