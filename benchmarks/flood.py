"""Bulk, as a process of its own: tracking frames by HTTP at any rate, and one subscriber who takes all of them."""

import asyncio
import multiprocessing
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import httpx2

from tests.drills import wire

BATCH, AT_ONCE, PLAYERS = 100, 64, 22
TIMEOUT_S = 30
FRAME = b'"type":"tracking_frame"'


class Plan(NamedTuple):
    """Whom to flood: address and port, a sensors key, a token, and the matches, of which frames come in turn."""

    url: str
    port: int
    key: str
    token: str
    matches: Sequence[str]


class Flooded(NamedTuple):
    """Frames of one flood: offered, accepted, refused by the node, never sent as too many waited; came to a client.

    `said` is how often each status was answered; `seconds`, how long it took.
    """

    offered: int
    accepted: int
    refused: int
    unsent: int
    came: int
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
    limits = httpx2.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    async with httpx2.AsyncClient(base_url=plan.url, timeout=TIMEOUT_S, limits=limits) as http:
        posts = _Posts(http, plan)
        pipe.send("ready")
        while True:
            seconds, per_s = await asyncio.to_thread(pipe.recv)
            before = came["frames"]
            found = await posts.flood(seconds, per_s)
            assert not viewer.ended.done(), "the subscriber of everything was sent away"
            pipe.send(found._replace(came=came["frames"] - before))


class _Posts:
    def __init__(self, http: Any, plan: Plan) -> None:
        self._http, self._plan = http, plan
        self._headers = {"Authorization": f"Bearer {plan.key}", "Content-Type": "application/x-ndjson"}
        self._number = 0
        self._said: Counter[int] = Counter()
        players = ",".join(f'["p{n}",{n}.25,-{n}.5]' for n in range(PLAYERS))
        self._payload = f'"payload":{{"players":[{players}],"ball":[1.5,2.5]}}}}'.encode()

    async def flood(self, seconds: float, per_s: float | None) -> Flooded:
        """One flood, and the end of all that was under way."""
        self._said = Counter()
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
            came=0,
            said=dict(self._said),
            seconds=loop.time() - began,
        )

    async def _closed(self, until: float) -> int:
        loop, sent = asyncio.get_running_loop(), 0
        while loop.time() < until:
            await self._post()
            sent += 1
        return sent

    async def _open(self, began: float, seconds: float, per_s: float) -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        under_way: set[asyncio.Task[None]] = set()
        every_s, posts, unsent = BATCH / per_s, round(seconds * per_s / BATCH), 0
        for turn in range(posts):
            # Not a wait for anything: when the next batch is due.
            await asyncio.sleep(max(0.0, began + turn * every_s - loop.time()))
            if len(under_way) >= AT_ONCE:
                unsent += 1
                continue
            task = asyncio.create_task(self._post())
            under_way.add(task)
            task.add_done_callback(under_way.discard)
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
        try:
            answer = await self._http.post("/v1/ingest/sensors", content=b"\n".join(lines), headers=self._headers)
        except httpx2.HTTPError:
            self._said[0] += 1
            return
        self._said[answer.status_code] += 1


def clock() -> float:
    """What both sides time with."""
    return time.perf_counter()
