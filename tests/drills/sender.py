"""Sends a plan to any of several nodes, 32 requests at once, each until it is answered, in bursts."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import httpx2

from tests.drills.submissions import Plan, Request, declaration

AT_ONCE = 32
ANSWER_S = 6
AGAIN_S = 0.05
GIVE_UP_S = 180


class Sender:
    """Holds the source's account: what was answered, what was refused, how often no answer came.

    Sends only as many submissions as `allow` has allowed so far, so that a drill spreads a plan over its faults.
    """

    def __init__(self, plan: Plan, urls: Sequence[str], broadcast_key: str, admin_key: str) -> None:
        self.plan = plan
        self.answered = 0
        self.unanswered: set[int] = set()
        """Numbers of requests of which a try had no answer, or 503: what became of that try is unknown."""
        self.refused: dict[int, int] = {}
        """By submission, how often it was refused as id_conflict."""
        self._urls = list(urls)
        self._keys = broadcast_key, admin_key
        self._http = httpx2.AsyncClient(timeout=ANSWER_S, limits=httpx2.Limits(max_connections=2 * AT_ONCE))
        self._accepted = [asyncio.Event() for _ in plan.requests]
        self.allowed = 0
        self._next = self._sent = 0
        self._room = asyncio.Condition()

    async def declare(self) -> None:
        """Declare the plan's matches."""
        body = declaration(self.plan.matches[0], datetime.now(UTC) - timedelta(hours=3))
        for match_id in self.plan.matches:
            await self._until_answered("PUT", f"/v1/matches/{match_id}", body, self._keys[1], -1)

    async def allow(self, submissions: int) -> None:
        """Let so many more go."""
        async with self._room:
            self.allowed += submissions
            self._room.notify_all()

    def cut(self) -> None:
        """Leave out what has not gone yet, but for the ends of the matches."""
        self.plan = self.plan.cut(self._next)

    async def run(self) -> None:
        """Send everything; returns when every request was answered."""
        try:
            async with asyncio.TaskGroup() as workers:
                for number in range(AT_ONCE):
                    workers.create_task(self._work(number))
        finally:
            await self._http.aclose()

    async def _work(self, turn: int) -> None:
        while True:
            async with self._room:
                await self._room.wait_for(lambda: self._is_over() or self._sent < self.allowed)
                if self._is_over():
                    self._room.notify_all()
                    return
                index, self._next = self._next, self._next + 1
                request = self.plan.requests[index]
                self._sent += len(request.submissions)
            for before in request.after:
                await self._accepted[before].wait()
            await self._send(index, request, turn)
            self._accepted[index].set()

    def _is_over(self) -> bool:
        return self._next == len(self.plan.requests)

    async def _send(self, index: int, request: Request, turn: int) -> None:
        body = b"\n".join(one.item for one in request.submissions)
        answer = await self._until_answered("POST", "/v1/ingest/broadcast", body, self._keys[0], index, turn)
        # The oracle of the early refusal: nothing but a conflict may be refused.
        for told in json.loads(answer)["rejected"]:
            one = request.submissions[told["index"]]
            assert (one.kind, told["code"]) == ("conflict", "id_conflict"), (one, told)
            self.refused[one.number] = self.refused.get(one.number, 0) + 1
        self.answered += len(request.submissions)

    async def _until_answered(self, method: str, path: str, body: bytes, key: str, index: int, turn: int = 0) -> bytes:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
        async with asyncio.timeout(GIVE_UP_S):
            while True:
                url = self._urls[(turn + index) % len(self._urls)] + path
                try:
                    answer = await self._http.request(method, url, content=body, headers=headers)
                except httpx2.HTTPError:
                    self.unanswered.add(index)
                else:
                    if answer.status_code in (200, 201, 202, 422):
                        return answer.content
                    assert answer.status_code in (401, 429, 503), answer.text
                    self.unanswered.add(index)
                turn += 1
                await asyncio.sleep(AGAIN_S)
