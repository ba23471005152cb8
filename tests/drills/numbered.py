"""Sources that send numbered events in order, each its own match through one node, and keep every answer they got.

With a rate they keep to it for as long as somebody answers; what would have come meanwhile is not made up for.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import NamedTuple

import httpx2

from eventhub.kafka import Partitioner
from eventhub.tasks import end
from tests.support import oracle
from tests.support.feed import RealMatch
from tests.support.nodes import NodeProcess
from tests.support.wait import until
from tests.system.conftest import Platform

MATCHES, BATCH = 8, 20
ANSWER_S, AGAIN_S, BEHIND_S = 15, 0.05, 1.0
MORE_S, LOAD_S = 120, 900


class Answer(NamedTuple):
    """One answer: the loop's time when it was asked for, the events it was about, and what it was.

    `said` is `log` or `spool` of a 202, else the problem's code.
    """

    asked_at: float
    events: int
    status: int
    said: str


class Sources:
    """One source a match of one node. `per_s` events a second of all together; None: as fast as it answers."""

    def __init__(
        self,
        platform: Platform,
        node: NodeProcess,
        *,
        per_s: float | None = None,
        batch: int = BATCH,
        name: str = "m",
        matches: Sequence[str] = (),
    ) -> None:
        self.accepted: dict[str, list[str]] = {}
        self.answers: list[Answer] = []
        self.matches = list(matches) or [f"{name}{number}" for number in range(MATCHES)]
        self._platform, self._node, self._batch_size = platform, node, batch
        self._each_per_s = None if per_s is None else per_s / len(self.matches)
        self._stopping = False
        self._now = datetime.now(UTC).isoformat()
        self._http = httpx2.AsyncClient(timeout=ANSWER_S)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def count(self) -> int:
        """Events that were accepted."""
        return sum(map(len, self.accepted.values()))

    def events(self, said: str, since: float = 0.0) -> int:
        """Events of the answers that said so and were asked for after that time."""
        return sum(one.events for one in self.answers if one.said == said and one.asked_at > since)

    def said(self) -> Counter[str]:
        """Answers by what they said."""
        return Counter(one.said for one in self.answers)

    async def declare(self, match: RealMatch) -> None:
        source = self._platform.source(self._node)
        for name in self.matches:
            await source.declare(name, match)
        await source.close()

    async def more(self, said: str, answers: int = MATCHES) -> None:
        """Wait until so many more answers said so, and were asked for from now on."""
        since = asyncio.get_running_loop().time()
        at = len(self.answers)

        def enough() -> bool:
            self._raise()
            return sum(one.said == said and one.asked_at > since for one in self.answers[at:]) >= answers

        await until(enough, f"{answers} more answers {said!r}", MORE_S)

    async def until_accepted(self, events: int) -> None:
        """Wait until so many were accepted since the beginning."""

        def enough() -> bool:
            self._raise()
            return self.count >= events

        await until(enough, f"{events} accepted events", LOAD_S)

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Send from here on; at the end what is under way is still sent until it is accepted."""
        self._tasks = [asyncio.create_task(self._send(name)) for name in self.matches]
        try:
            yield
            self._stopping = True
            done = await asyncio.wait_for(asyncio.gather(*self._tasks, return_exceptions=True), MORE_S)
            for one in done:
                if isinstance(one, Exception):
                    raise one
        finally:
            await self.halt()
            await self._http.aclose()

    async def halt(self) -> None:
        """Send nothing more. What was under way may be accepted, and nobody knows."""
        await end(*self._tasks)

    def _raise(self) -> None:
        """What ended a source ends the wait for it."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error

    async def _send(self, match_id: str) -> None:
        loop, first, size = asyncio.get_running_loop(), 0, self._batch_size
        due_at = loop.time()
        while not self._stopping:
            await self._batch(match_id, range(first, first + size))
            first += size
            if self._each_per_s is not None:
                # Not a wait for anything: the pace of a source, which makes up for a second of silence at most.
                due_at = max(due_at + size / self._each_per_s, loop.time() - BEHIND_S)
                await asyncio.sleep(due_at - loop.time())

    async def _batch(self, match_id: str, numbers: range) -> None:
        """Until it is accepted, always the same bytes."""
        body = b"[" + b",".join(self._event(match_id, n) for n in numbers) + b"]"
        headers = {"Authorization": f"Bearer {self._platform.broadcast_key}", "Content-Type": "application/json"}
        loop = asyncio.get_running_loop()
        while True:
            asked_at = loop.time()
            try:
                answer = await self._http.post(f"{self._node.url}/v1/ingest/broadcast", content=body, headers=headers)
            except httpx2.HTTPError:
                await asyncio.sleep(AGAIN_S)
                continue
            told = answer.json()
            if answer.status_code == 202:
                assert not told["rejected"], told["rejected"][:3]
                self.accepted.setdefault(match_id, []).extend(i["event_id"] for i in told["items"])
                self.answers.append(Answer(asked_at, len(numbers), 202, told["durable"]))
                return
            assert answer.status_code == 503, answer.text
            assert answer.headers["retry-after"], "a refusal that says when to come again"
            self.answers.append(Answer(asked_at, len(numbers), 503, told["code"]))
            await asyncio.sleep(AGAIN_S)

    def _event(self, match_id: str, number: int) -> bytes:
        event = {"match_id": match_id, "type": "pass", "source_event_id": f"{number:08d}", "occurred_at": self._now}
        return json.dumps(event).encode()


class Together:
    """What several sources' events came to, as one account; their matches are different ones."""

    def __init__(self, *sources: Sources) -> None:
        self.accepted = {match_id: ids for one in sources for match_id, ids in one.accepted.items()}


def count(sources: Sequence[Sources]) -> int:
    """Events that were accepted of all of them."""
    return sum(one.count for one in sources)


def one_match_each(partitions: int) -> list[str]:
    """A match id for each partition."""
    partition_of, found = Partitioner(partitions), dict[int, str]()
    number = 0
    while len(found) < partitions:
        found.setdefault(partition_of(f"m{number}"), f"m{number}")
        number += 1
    return [found[p] for p in range(partitions)]


async def in_order(platform: Platform) -> None:
    """Per match the numbers on the log ascend, without a hole."""
    log = await oracle.read_log(platform.cluster, platform.partitions)
    assert log.values, "nothing is on the log"
    for match_id, values in log.values.items():
        numbers = [int(e["source_event_id"]) for _, v in values if (e := json.loads(v))["type"] == "pass"]
        assert numbers == list(range(len(numbers))), f"{match_id} is out of order, or has a hole"
