"""Bulk, as a process of its own: tracking frames by HTTP at any rate, and one subscriber who takes all of them."""

import asyncio
import multiprocessing
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from tests.drills import wire

BATCH, PLAYERS = 100, 22
TIMEOUT_S = 30
FRAME = b'"type":"tracking_frame"'


class Plan(NamedTuple):
    """Whom to flood: a port, a sensors key, a token, and the matches, of which frames come in turn.

    `at_once`: over so many connections at the most.
    """

    port: int
    key: str
    token: str
    matches: Sequence[str]
    at_once: int


class Flooded(NamedTuple):
    """Frames of one flood: offered, accepted, refused by the node, never sent as too many waited; came to a client.

    Of the last, `meanwhile` came before the last was offered. `said` is how often each status was answered; `seconds`,
    how long it took until all were.
    """

    offered: int
    accepted: int
    refused: int
    unsent: int
    came: int
    meanwhile: int
    said: dict[int, int]
    seconds: float


class Flood:
    """A started source that waits for `run`; ends with `close`."""

    def __init__(self, plan: Plan) -> None:
        self._here, there = multiprocessing.get_context("spawn").Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=_main, args=(there,), daemon=True)
        self._process.start()
        there.close()
        self._here.send(plan)

    async def ready(self) -> None:
        """Wait until its subscriber is there."""
        assert await asyncio.to_thread(self._here.recv) == "ready"

    async def run(self, seconds: float, per_s: float | None) -> Flooded:
        """Offer so many frames a second, whatever the answers; None: as many as are accepted, one after another."""
        self._here.send((seconds, per_s))
        found: Flooded = await asyncio.to_thread(self._here.recv)
        return found

    def close(self) -> None:
        """End it, whatever it does."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join(10)


def _main(pipe: "Connection[Any, Any]") -> None:
    asyncio.run(_serve(pipe))


async def _serve(pipe: "Connection[Any, Any]") -> None:
    plan: Plan = pipe.recv()
    came = Counter[str]()

    def take(line: bytes) -> None:
        came["frames"] += FRAME in line

    viewer = await wire.connect(plan.port, plan.token, take)
    viewer.say(id=2, type="subscribe", channels=[{"channel": f"match:{m}"} for m in plan.matches])
    posts = _Posts(plan, came)
    pipe.send("ready")
    while True:
        seconds, per_s = await asyncio.to_thread(pipe.recv)
        found = await posts.flood(seconds, per_s)
        assert not viewer.ended.done(), "the subscriber of everything was sent away"
        pipe.send(found)


class _Posts:
    """Posts by hand: an HTTP client costs as much as the node does, and both share two cores."""

    def __init__(self, plan: Plan, came: Mapping[str, int]) -> None:
        self._plan, self._came, self._offered = plan, came, 0
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._head = (
            f"POST /v1/ingest/sensors HTTP/1.1\r\nHost: 127.0.0.1:{plan.port}\r\nAuthorization: Bearer {plan.key}\r\n"
            "Content-Type: application/x-ndjson\r\nContent-Length: "
        )
        self._number = 0
        self._said: Counter[int] = Counter()
        players = ",".join(f'["p{n}",{n}.25,-{n}.5]' for n in range(PLAYERS))
        self._payload = f'"payload":{{"players":[{players}],"ball":[1.5,2.5]}}}}'.encode()

    async def flood(self, seconds: float, per_s: float | None) -> Flooded:
        """One flood, and the end of all that was under way."""
        self._said, before = Counter(), self._came["frames"]
        loop = asyncio.get_running_loop()
        began = loop.time()
        if per_s is None:
            offered = sum(await asyncio.gather(*(self._closed(began + seconds) for _ in range(8))))
            unsent = 0
        else:
            offered, unsent = await self._open(began, seconds, per_s)
        return Flooded(
            offered=offered * BATCH,
            accepted=self._said[202] * BATCH,
            refused=(self._said.total() - self._said[202]) * BATCH,
            unsent=unsent * BATCH,
            came=self._came["frames"] - before,
            meanwhile=self._offered - before,
            said=dict(self._said),
            seconds=loop.time() - began,
        )

    async def _closed(self, until: float) -> int:
        loop, sent = asyncio.get_running_loop(), 0
        while loop.time() < until:
            await self._post()
            sent += 1
        self._offered = self._came["frames"]
        return sent

    async def _open(self, began: float, seconds: float, per_s: float) -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        under_way: set[asyncio.Task[None]] = set()
        every_s, posts, unsent = BATCH / per_s, round(seconds * per_s / BATCH), 0
        for turn in range(posts):
            # Not a wait for anything: when the next batch is due.
            await asyncio.sleep(max(0.0, began + turn * every_s - loop.time()))
            if len(under_way) >= self._plan.at_once:
                unsent += 1
                continue
            task = asyncio.create_task(self._post())
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        self._offered = self._came["frames"]
        await asyncio.gather(*under_way)
        return posts, unsent

    async def _post(self) -> None:
        self._number += 1
        match_id = self._plan.matches[self._number % len(self._plan.matches)]
        now = datetime.now(UTC).isoformat()
        lines = [
            f'{{"match_id":"{match_id}","type":"tracking_frame","source_event_id":"{self._number}-{n}",'
            f'"occurred_at":"{now}",'.encode()
            + self._payload
            for n in range(BATCH)
        ]
        body = b"\n".join(lines)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                self._said[await self._answer(f"{self._head}{len(body)}\r\n\r\n".encode() + body)] += 1
        except (OSError, EOFError, TimeoutError):
            self._said[0] += 1

    async def _answer(self, request: bytes) -> int:
        """The status of the answer, on a connection that is free or new; one that fails is not used again."""
        # Those that the node has closed meanwhile are of no use.
        self._free = [free for free in self._free if not free[0].at_eof()]
        reader, writer = self._free.pop() if self._free else await asyncio.open_connection("127.0.0.1", self._plan.port)
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
        except BaseException:
            writer.close()
            raise
        self._free.append((reader, writer))
        return int(head.split(b" ", 2)[1])


def clock() -> float:
    """What both sides time with."""
    return time.perf_counter()
