"""A source for those who watch: matches that go on at a pace, with goals, cards and revisions that change a type.

Each match's events go one batch after another, to any of several nodes, until each is accepted.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

from eventhub.tasks import end
from tests.support.nodes import NodeProcess
from tests.system.conftest import Platform

TEAMS = (("reds", "blues"), ("greens", "whites"))
"""Of the even matches, and of the odd ones."""
KINDS = ("pass", "duel", "foul", "shot", "goal", "yellow_card")
LIVELY, USUAL = (60.0, 15.0, 7.0, 8.0, 6.0, 4.0), (74.0, 16.0, 7.5, 2.0, 0.25, 0.25)
"""How often each kind comes. A sheet lists goals and cards: where many events flow, they must be as rare as usual."""
REVISED = 12
"""One event in so many is revised a little later, mostly as something else than it was."""
ANSWER_S, AGAIN_S, BEHIND_S, END_S = 6, 0.05, 1.0, 120


class Play:
    """`per_s` events a second of all `matches` together, `batch` of a match at a time; the last `rests` only begin."""

    def __init__(
        self,
        platform: Platform,
        nodes: Sequence[NodeProcess],
        *,
        matches: int,
        per_s: float,
        batch: int = 1,
        rests: int = 0,
        shares: Sequence[float] = LIVELY,
    ) -> None:
        self.matches = [f"m{number}" for number in range(matches)]
        self.accepted: set[str] = set()
        self.revisions = 0
        self._platform = platform
        self._urls = [node.url for node in nodes]
        self._shares = shares
        self._each_per_s, self._batch_size, self._playing = per_s / (matches - rests), batch, matches - rests
        self._began = datetime.now(UTC) - timedelta(minutes=5)
        self._stopping = asyncio.Event()
        self._http = httpx2.AsyncClient(timeout=ANSWER_S, limits=httpx2.Limits(max_connections=64))
        self._tasks: list[asyncio.Task[None]] = []

    def of_team(self, team: str) -> list[str]:
        """The matches of a team."""
        return [m for number, m in enumerate(self.matches) if team in TEAMS[number % 2]]

    async def declare(self) -> None:
        """Declare every match."""
        for number, match_id in enumerate(self.matches):
            home, away = ({"id": team, "name": team.title()} for team in TEAMS[number % 2])
            body = {"home": home, "away": away, "starts_at": self._began.isoformat()}
            await self._send("PUT", f"/v1/matches/{match_id}", body, self._platform.admin_key)

    @asynccontextmanager
    async def going(self) -> AsyncIterator[None]:
        """Play from here on; at the end every match ends, after which nothing follows but what follows from it."""
        self._tasks = [asyncio.create_task(self._play(m, number)) for number, m in enumerate(self.matches)]
        try:
            yield
            self._stopping.set()
            await asyncio.wait_for(asyncio.gather(*self._tasks), END_S)
        finally:
            await end(*self._tasks)
            await self._http.aclose()

    def check(self) -> None:
        """Raise what ended a match too early."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def fill(self, match_id: str, events: int, *, batch: int = 500) -> None:
        """So many events of one match at once, ahead of its play."""
        made = self._events(match_id, -1)
        for start in range(0, events, batch):
            await self._post([next(made) for _ in range(min(batch, events - start))])

    async def _play(self, match_id: str, number: int) -> None:
        loop, made = asyncio.get_running_loop(), self._events(match_id, number)
        await self._post([{**self._event(match_id, "begin", "period_start"), "clock_s": 0}])
        every_s = self._batch_size / self._each_per_s
        # Matches do not send at the same moment.
        due_at = loop.time() + every_s * number / len(self.matches)
        if number >= self._playing:
            await self._stopping.wait()
        while not self._stopping.is_set():
            # Not a wait for anything: the pace of a source, which makes up for a second of silence at most.
            await asyncio.sleep(due_at - loop.time())
            await self._post([next(made) for _ in range(self._batch_size)])
            due_at = max(due_at + every_s, loop.time() - BEHIND_S)
        await self._post([{**self._event(match_id, "end", "match_end"), "clock_s": 2_700}])

    def _events(self, match_id: str, seed: int) -> Any:
        rng = random.Random(seed)
        name, number, old = "early" if seed < 0 else "live", 0, self._event(match_id, "", "")
        while True:
            number += 1
            if number % REVISED == 0:
                self.revisions += 1
                (kind,) = rng.choices(KINDS, self._shares)
                yield {**old, "type": kind, "revision": 1, "action": rng.choice(("update", "delete"))}
            (kind,) = rng.choices(KINDS, self._shares)
            made = self._event(match_id, f"{name}{number}", kind)
            if number % REVISED == REVISED // 2:
                old = made
            yield made

    def _event(self, match_id: str, name: str, kind: str) -> dict[str, Any]:
        return {
            "match_id": match_id,
            "type": kind,
            "occurred_at": self._began.isoformat(),
            "source_event_id": name,
            "team_id": TEAMS[int(match_id[1:]) % 2][0],
            "period": "first_half",
            "clock_s": 60,
            "payload": {},
        }

    async def _post(self, events: list[dict[str, Any]]) -> None:
        told = await self._send("POST", "/v1/ingest/broadcast", events, self._platform.broadcast_key)
        assert not told["rejected"], told["rejected"][:3]
        self.accepted.update(item["event_id"] for item in told["items"])

    async def _send(self, method: str, path: str, body: Any, key: str) -> dict[str, Any]:
        content, headers = json.dumps(body).encode(), {"Authorization": f"Bearer {key}"}
        async with asyncio.timeout(END_S):
            while True:
                try:
                    answer = await self._http.request(method, self._urls[0] + path, content=content, headers=headers)
                except httpx2.HTTPError:
                    answer = None
                if answer is not None and answer.status_code in (200, 201, 202):
                    found: dict[str, Any] = answer.json()
                    return found
                assert answer is None or answer.status_code in (401, 429, 503), answer.text
                self._urls.append(self._urls.pop(0))
                await asyncio.sleep(AGAIN_S)
