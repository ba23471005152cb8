"""`python -m benchmarks.pipeline [--json] [--quick]`: from HTTP accept to Postgres and to a socket.

Real events (six matches under fresh ids) go as NDJSON to one node with embedded services; a client on a socket follows
every match. Beside it, in the same run, bare clients do the same work, as the limit. Nothing is printed unless every
accepted event arrived everywhere.
"""

import argparse
import asyncio
import json
import logging
import os
import platform as python
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx2
import msgspec
import psycopg
import websockets

from benchmarks import bare, steps
from benchmarks.platform import PARTITIONS, Platform, platform
from tests.support.feed import RealMatch, Source, real_matches

BATCH = 500
RATE, TICK_S = 1000, 0.01
MARK = b'"source":"broadcast/wyscout"'
DEADLINE_S = 120


class _Message(msgspec.Struct):
    class Inner(msgspec.Struct):
        accepted_at: datetime
        source: str

    event: Inner


class Socket:
    """Follows matches and counts the provider's events; for latency it decodes when each was accepted."""

    def __init__(self, node: Platform) -> None:
        self._node = node
        self.count = 0
        self.cursors: dict[int, int] = {}
        self.late_ms: list[float] | None = None
        self._socket: Any = None
        self._task: asyncio.Task[None] | None = None
        self._decode = msgspec.json.Decoder(_Message).decode

    async def open(self, match_ids: Sequence[str]) -> None:
        """Connect and subscribe to all of them."""
        self._socket = await websockets.connect(
            self._node.node.url.replace("http", "ws") + "/v1/stream",
            subprotocols=[websockets.Subprotocol("eventhub.v1+json")],
            max_size=None,
            proxy=None,
            ping_interval=None,
        )
        await self._send({"id": 0, "type": "connect", "token": self._node.token()})
        channels = [{"channel": f"match:{i}", "from": "start"} for i in match_ids]
        await self._send({"id": 1, "type": "subscribe", "channels": channels})
        self._task = asyncio.create_task(self._read())

    async def close(self) -> None:
        """Leave."""
        if self._task is not None:
            self._task.cancel()
        await self._socket.close()

    async def _send(self, command: dict[str, Any]) -> None:
        await self._socket.send(json.dumps(command))

    async def _read(self) -> None:
        while True:
            frame = await self._socket.recv(decode=False)
            self.count += frame.count(MARK)
            at = frame.rfind(b'"cursor":"')
            if frame.startswith(b'{"type":"event"') and at >= 0:
                last = frame.rfind(b'{"type":"event"')
                start = frame.index(b'"cursor":"', last) + 10
                _, p, o = frame[start : frame.index(b'"', start)].split(b".")
                self.cursors[int(p)] = int(o)
            if self.late_ms is not None:
                now = time.time()
                for line in frame.split(b"\n"):
                    if MARK in line:
                        self.late_ms.append((now - self._decode(line).event.accepted_at.timestamp()) * 1000)


async def throughput(node: Platform, matches: Sequence[RealMatch], loops: int, run: str) -> dict[str, float]:
    """Everything at once; events/s from the first post until all are at the socket, and in Postgres."""
    source = Source([node.node.url], node.broadcast_key, node.admin_key)
    names = [(f"{run}-{k}-{m.name}", m) for k in range(loops) for m in matches]
    for match_id, match in names:
        await source.declare(match_id, match)
    socket = Socket(node)
    await socket.open([i for i, _ in names])
    bodies = {i: _bodies(m) for i, m in names}
    total = sum(len(m.feed.records) for _, m in names)
    before, started = node.cpu_s(), time.perf_counter()
    await asyncio.gather(*(_post_all(node, i, parts) for i, parts in bodies.items()))
    posted_s = time.perf_counter() - started
    await _until(lambda: socket.count >= total, f"{total} events at the socket, {socket.count} came")
    socket_s = time.perf_counter() - started
    async with await psycopg.AsyncConnection.connect(node.services.addresses.postgres, autocommit=True) as connection:

        async def stored() -> bool:
            rows = await (await connection.execute("select log_partition, next_offset from log_progress")).fetchall()
            progress = {int(p): int(o) for p, o in rows}
            return all(progress.get(p, 0) > o for p, o in socket.cursors.items())

        while not await stored():
            await asyncio.sleep(0.01)
        postgres_s = time.perf_counter() - started
        used = {name: (after - before[name]) / total * 1e6 for name, after in node.cpu_s().items()}
        found = await connection.execute(
            "select count(*) from events where match_id like %s and type not in ('state')", (f"{run}-%",)
        )
        row = await found.fetchone()
    assert row is not None
    assert row[0] == total == socket.count, f"{total} accepted, {row[0]} in Postgres, {socket.count} at the socket"
    await socket.close()
    await source.close()
    return {
        "events": total,
        "accept_per_s": total / posted_s,
        "socket_per_s": total / socket_s,
        "postgres_per_s": total / postgres_s,
        **{f"cpu_{name}": us for name, us in used.items()},
    }


async def latency(node: Platform, matches: Sequence[RealMatch], seconds: float) -> dict[str, float]:
    """1,000 events/s, open loop, ten at a time over all matches: accept to frame, and post to 202."""
    source = Source([node.node.url], node.broadcast_key, node.admin_key)
    names = [(f"latency-{m.name}", m) for m in matches]
    for match_id, match in names:
        await source.declare(match_id, match)
    socket = Socket(node)
    socket.late_ms = []
    await socket.open([i for i, _ in names])
    size = int(RATE * TICK_S)
    parts = [[(i, b"\n".join(_records(m)[n : n + size])) for n in range(0, 1400, size)] for i, m in names]
    plan = [part for together in zip(*parts, strict=False) for part in together][: int(seconds / TICK_S)]
    acks: list[float] = []
    async with _http() as http:

        async def post(match_id: str, body: bytes) -> None:
            begun = time.perf_counter()
            await _post(http, node, match_id, body)
            acks.append((time.perf_counter() - begun) * 1000)

        posts, started = [], time.perf_counter()
        for turn, (match_id, body) in enumerate(plan):
            # An open loop keeps its times whatever the answers do.
            await asyncio.sleep(max(0.0, started + turn * TICK_S - time.perf_counter()))
            posts.append(asyncio.create_task(post(match_id, body)))
        took = time.perf_counter() - started
        await asyncio.gather(*posts)
    total = len(plan) * size
    await _until(lambda: socket.count >= total, f"{total} events at the socket, {socket.count} came")
    assert socket.count == total == len(socket.late_ms)
    await socket.close()
    await source.close()
    late, ack = statistics.quantiles(socket.late_ms, n=100), statistics.quantiles(acks, n=100)
    return {
        "rate": round(total / took),
        "p50_ms": late[49],
        "p99_ms": late[98],
        "ack_p50_ms": ack[49],
        "ack_p99_ms": ack[98],
    }


def _records(match: RealMatch) -> list[bytes]:
    return [record for _, _, record in match.feed.records]


def _bodies(match: RealMatch) -> list[bytes]:
    records = _records(match)
    return [b"\n".join(records[n : n + BATCH]) for n in range(0, len(records), BATCH)]


def _http() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(timeout=60, limits=httpx2.Limits(max_connections=16))


async def _post_all(node: Platform, match_id: str, bodies: Sequence[bytes]) -> None:
    async with _http() as http:
        for body in bodies:
            await _post(http, node, match_id, body)


async def _post(http: httpx2.AsyncClient, node: Platform, match_id: str, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {node.broadcast_key}", "Content-Type": "application/x-ndjson"}
    url = f"{node.node.url}/v1/ingest/broadcast/wyscout?match_id={match_id}"
    answer = await http.post(url, content=body, headers=headers)
    assert answer.status_code == 202, answer.text[:300]


async def _until(condition: Any, what: str) -> None:
    deadline = time.perf_counter() + DEADLINE_S
    while not condition():
        assert time.perf_counter() < deadline, what
        await asyncio.sleep(0.005)


class Plan(NamedTuple):
    """How much is run."""

    runs: int
    loops: int
    latency_s: float


async def measure(plan: Plan) -> dict[str, Any]:
    """The whole benchmark; fails when anything is lost."""
    matches = real_matches()
    pure = steps.measure(matches)
    async with platform() as node:
        await throughput(node, matches, 1, "warm")
        runs = []
        for turn in range(plan.runs):
            print(f"throughput, run {turn + 1} of {plan.runs}", file=sys.stderr)
            runs.append(await throughput(node, matches, plan.loops, f"run{turn}"))
        print("latency", file=sys.stderr)
        late = await latency(node, matches, plan.latency_s)
    async with platform() as node:
        print("bare clients", file=sys.stderr)
        node.node.close()
        records, rows = pure.records * plan.loops, pure.rows
        limit = await bare.measure(node.cluster, node.services.addresses.postgres, records, rows, PARTITIONS)
    middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return {
        "throughput": {
            "events": runs[0]["events"],
            "runs": [{k: round(run[k]) for k in ("accept_per_s", "socket_per_s", "postgres_per_s")} for run in runs],
            **{k: round(middle[k]) for k in ("accept_per_s", "socket_per_s", "postgres_per_s")},
        },
        "latency": {key: round(value, 1) for key, value in late.items()},
        "cpu_us_per_event": {
            **{name: round(middle[f"cpu_{name}"], 1) for name in ("node", "kafka", "postgres")},
            "steps": {name: round(us, 1) for name, us in pure.us.items()},
        },
        "bare": {key: round(value) for key, value in limit._asdict().items()},
        "ratio": round(min(middle["socket_per_s"], middle["postgres_per_s"]) / limit.chain_per_s, 3),
        "machine": {
            "cores": os.cpu_count(),
            "python": python.python_version(),
            "date": datetime.now(UTC).date().isoformat(),
        },
    }


def main() -> None:
    """Run it and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="one short run, to see that it works")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    plan = Plan(1, 1, 3) if chosen.quick else Plan(3, 6, 15)
    result = asyncio.run(measure(plan))
    if chosen.json:
        print(json.dumps(result))
        return
    for name, figures in result.items():
        print(f"{name}: {json.dumps(figures)}")


if __name__ == "__main__":
    main()
