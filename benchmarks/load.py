"""The source, as a process of its own: posts prebuilt bodies, so that neither node nor reader pays for it."""

import asyncio
import json
import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import httpx2

RETRY_S = 0.05
AGAIN_MAX = 1200
TIMEOUT_S = 60
Body = tuple[str, bytes]


class Plan(NamedTuple):
    """What to post: path and body, in lanes of one connection each; within a lane one after another.

    With `tick_s` the bodies of all lanes go in turn instead, one each `tick_s` seconds, whatever the answers do.
    """

    url: str
    key: str
    lanes: Sequence[Sequence[Body]]
    tick_s: float | None = None


class Sent(NamedTuple):
    """Ids that were accepted, in seconds how long the posts took, per post in ms the time to its 202, and retries."""

    ids: list[str]
    took_s: float
    ack_ms: list[float]
    retries: int


class Load:
    """A started source that waits for `go`; ends with its run, or with `close`."""

    def __init__(self, plan: Plan) -> None:
        here, there = multiprocessing.get_context("spawn").Pipe()
        self._here: Connection[Any, Any] = here
        self._process = multiprocessing.get_context("spawn").Process(target=_main, args=(there,), daemon=True)
        self._process.start()
        # The child's end is the child's alone, so that its death ends our wait.
        there.close()
        self._here.send(plan)

    async def ready(self) -> None:
        """Wait until it holds its bodies and its connections may begin."""
        assert await asyncio.to_thread(self._here.recv) == "ready"

    def go(self) -> None:
        """Begin."""
        self._here.send("go")

    async def sent(self) -> Sent:
        """Wait for the end. Raises EOFError when it failed; its traceback is on stderr."""
        found: Sent = await asyncio.to_thread(self._here.recv)
        return found

    def close(self) -> None:
        """End it, whatever it does."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join(10)


def _main(pipe: "Connection[Any, Any]") -> None:
    plan: Plan = pipe.recv()
    pipe.send(asyncio.run(_run(plan, pipe)))


async def _run(plan: Plan, pipe: "Connection[Any, Any]") -> Sent:
    limits = httpx2.Limits(max_connections=64, max_keepalive_connections=64)
    async with httpx2.AsyncClient(base_url=plan.url, timeout=TIMEOUT_S, limits=limits) as http:
        post = _Post(http, plan.key)
        pipe.send("ready")
        await asyncio.to_thread(pipe.recv)
        started = time.perf_counter()
        if plan.tick_s is None:
            await asyncio.gather(*(_closed(post, lane) for lane in plan.lanes))
        else:
            await _open(post, [body for lane in plan.lanes for body in lane], plan.tick_s, started)
        took_s = time.perf_counter() - started
    # Read only now: while it runs, the machine belongs to the node.
    answers = [json.loads(answer) for answer in post.answers]
    assert not any(a["rejected"] for a in answers), "a source of valid events was refused some"
    return Sent([i["event_id"] for a in answers for i in a["items"]], took_s, post.ack_ms, post.retries)


async def _closed(post: "_Post", lane: Sequence[Body]) -> None:
    for body in lane:
        await post(*body)


async def _open(post: "_Post", bodies: Sequence[Body], tick_s: float, started: float) -> None:
    under_way = []
    for turn, body in enumerate(bodies):
        await asyncio.sleep(max(0.0, started + turn * tick_s - time.perf_counter()))
        under_way.append(asyncio.create_task(post(*body, due=started + turn * tick_s)))
    await asyncio.gather(*under_way)


class _Post:
    """Posts until accepted and keeps the answers. The time to a 202 counts from when it was due, retries included."""

    def __init__(self, http: Any, key: str) -> None:
        self.answers: list[bytes] = []
        self.ack_ms: list[float] = []
        self.retries = 0
        self._http = http
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}

    async def __call__(self, path: str, body: bytes, *, due: float | None = None) -> None:
        begun = time.perf_counter() if due is None else due
        for _ in range(AGAIN_MAX):
            answer = await self._http.post(path, content=body, headers=self._headers)
            if answer.status_code == 202:
                self.ack_ms.append((time.perf_counter() - begun) * 1000)
                self.answers.append(answer.content)
                return
            assert answer.status_code in (429, 503), answer.text[:300]
            self.retries += 1
            await asyncio.sleep(RETRY_S)
        raise AssertionError(f"{path} was refused {AGAIN_MAX} times")
