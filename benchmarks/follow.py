"""The readers: one socket that follows every match, and one connection that watches how far Postgres has come."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
import websockets

MARK = b'"source":"broadcast/wyscout"'
CURSOR = b'"cursor":"'
LOOK_S = 0.02


class Arrived(NamedTuple):
    """Of one event: its id, in ms how long after it was accepted its frame was here, and when that was (epoch)."""

    event_id: str
    late_ms: float
    at_ms: float


class Socket:
    """Keeps frames with the wall-clock time of their arrival, and reads them only when all is over."""

    def __init__(self, url: str, token: str) -> None:
        self.count = 0
        self._url, self._token = url.replace("http", "ws", 1) + "/v1/stream", token
        self._frames: list[tuple[float, bytes]] = []
        self._socket: Any = None
        self._task: asyncio.Task[None] | None = None

    async def open(self, match_ids: Sequence[str]) -> None:
        """Connect and subscribe to all of them; returns when every subscription is answered."""
        protocols = [websockets.Subprotocol("eventhub.v1+json")]
        self._socket = await websockets.connect(
            self._url, subprotocols=protocols, max_size=None, proxy=None, ping_interval=None, compression=None
        )
        await self._send({"id": 0, "type": "connect", "token": self._token})
        channels = [{"channel": f"match:{i}", "from": "start"} for i in match_ids]
        await self._send({"id": 1, "type": "subscribe", "channels": channels})
        answered = 0
        while answered < len(match_ids):
            frame = await asyncio.wait_for(self._socket.recv(decode=False), 30)
            assert b'"type":"error"' not in frame, frame[:300]
            answered += frame.count(b'"type":"subscribed"')
        self._task = asyncio.create_task(self._read())

    async def close(self) -> None:
        """Leave."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._socket.close()

    async def all(self, count: int, timeout_s: float) -> float:
        """Wait for this many of the provider's events; the `perf_counter` at which they were here."""
        assert self._task is not None
        deadline = time.perf_counter() + timeout_s
        while self.count < count:
            assert not self._task.done(), f"the socket ended after {self.count} of {count} events"
            assert time.perf_counter() < deadline, f"{self.count} of {count} events in {timeout_s:g} s at the socket"
            await asyncio.sleep(0.002)
        return time.perf_counter()

    def arrived(self) -> list[Arrived]:
        """Every event of the provider, in the order of arrival."""
        return [
            Arrived(
                event["event_id"], (at - datetime.fromisoformat(event["accepted_at"]).timestamp()) * 1000, at * 1000
            )
            for at, frame in self._frames
            for line in frame.split(b"\n")
            if MARK in line
            for event in (json.loads(line)["event"],)
        ]

    def ends(self) -> dict[int, int]:
        """By partition, the log offset of the last event that came."""
        found: dict[int, int] = {}
        for _, frame in self._frames:
            for line in frame.split(b"\n"):
                if MARK in line:
                    start = line.index(CURSOR) + len(CURSOR)
                    _, partition, offset = line[start : line.index(b'"', start)].split(b".")
                    found[int(partition)] = max(int(offset), found.get(int(partition), -1))
        return found

    async def _send(self, command: Mapping[str, Any]) -> None:
        await self._socket.send(json.dumps(command))

    async def _read(self) -> None:
        while True:
            frame = await self._socket.recv(decode=False)
            self._frames.append((time.time(), frame))
            self.count += frame.count(MARK)


class Progress:
    """Looks at history's progress every 20 ms and keeps what it saw: asking for counts would cost Postgres more."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._seen: list[tuple[float, dict[int, int]]] = []
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._look())

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def passed(self, ends: Mapping[int, int], timeout_s: float) -> float:
        """Wait until these offsets are stored; the `perf_counter` of the first look that showed it."""
        assert self._task is not None
        deadline = time.perf_counter() + timeout_s
        while True:
            for at, progress in self._seen:
                if all(progress.get(p, 0) > offset for p, offset in ends.items()):
                    return at
            assert not self._task.done(), "the watch on Postgres ended"
            assert time.perf_counter() < deadline, f"history did not reach {ends} in {timeout_s:g} s"
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as connection:
            while True:
                found = await connection.execute("select log_partition, next_offset from log_progress")
                rows = await found.fetchall()
                self._seen.append((time.perf_counter(), {int(p): int(o) for p, o in rows}))
                await asyncio.sleep(LOOK_S)


async def stored(dsn: str, prefix: str) -> list[str]:
    """Ids in history of the events that a provider sent for matches whose id begins so."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        found = await connection.execute(
            "select event_id::text from events where starts_with(match_id, %s) and type <> 'state'", (prefix,)
        )
        return [str(row[0]) for row in await found.fetchall()]
