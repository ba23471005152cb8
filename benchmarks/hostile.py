"""The hostile client, as a process of its own: sends the corpus, case after case, at a bounded pace."""

import asyncio
import itertools
import multiprocessing
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from tests import corpus_cases as cases
from tests.corpus_run import Runner, Target

PACE_S = 0.05
Send = Callable[[], Awaitable[None]]


class Plan(NamedTuple):
    """Whom to send to: see `tests.corpus_run.Target`."""

    url: str
    keys: Mapping[str, str]
    token: str
    names: dict[str, str]


class Hostile:
    """A started client that waits for `run`; ends with `close`."""

    def __init__(self, plan: Plan) -> None:
        self._here, there = multiprocessing.get_context("spawn").Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=_main, args=(there,), daemon=True)
        self._process.start()
        there.close()
        self._here.send(plan)

    async def ready(self) -> None:
        """Wait until it has built its bodies: what that costs is not the node's."""
        assert await asyncio.to_thread(self._here.recv) == "ready"

    async def run(self, until: float) -> int:
        """Send until this time (wall clock), one case each PACE_S at most; how many were sent."""
        self._here.send(until)
        sent, wrong = await asyncio.to_thread(self._here.recv)
        assert not wrong, wrong[:10]
        return int(sent)

    def close(self) -> None:
        """End it, whatever it does."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join(10)


class _Prepared(Runner):
    """Builds each body once."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._bodies: dict[int, bytes] = {}

    def body(self, spec: Any, names: cases.Names) -> bytes:
        if id(spec) not in self._bodies:
            self._bodies[id(spec)] = super().body(spec, names)
        return self._bodies[id(spec)]


def _main(pipe: "Connection[Any, Any]") -> None:
    asyncio.run(_serve(pipe))


async def _serve(pipe: "Connection[Any, Any]") -> None:
    plan: Plan = pipe.recv()
    runner = _Prepared(Target(plan.url, plan.keys, lambda: plan.token, plan.names))
    groups = [list(group) for group in _corpus(runner)]
    # Every group in turn, so that each window has of all of them; where one window ended, the next goes on.
    turns = (send for sends in zip(*map(itertools.cycle, groups), strict=False) for send in sends)
    pipe.send("ready")
    while True:
        until = await asyncio.to_thread(pipe.recv)
        before = runner.cases
        while time.time() < until:
            due = time.time() + PACE_S
            await next(turns)()
            await asyncio.sleep(max(0.0, due - time.time()))
        pipe.send((runner.cases - before, runner.wrong))


def _corpus(runner: _Prepared) -> Iterator[list[Send]]:
    """Every case but those that take their time, as calls."""
    names = runner.names()

    def request(case: cases.Case) -> Send:
        runner.body(case.body, names)
        return lambda: runner.request(case)

    def item(one: cases.Item) -> Send:
        return lambda: runner.item(one)

    def wire(case: Mapping[str, Any]) -> Send:
        return lambda: runner.wire(case)

    def stream(case: Mapping[str, Any]) -> Send:
        return lambda: runner.stream(case)

    for group in ("requests", "reads", "matches"):
        yield [request(case) for case in cases.requests(group)]
    yield [item(one) for one in cases.items(names)]
    yield [wire(case) for case in cases.load("wire")["cases"] if not case.get("slow")]
    yield [stream(case) for case in cases.load("stream")["cases"]]
