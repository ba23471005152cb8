"""The six real matches as a source sends them: declared, then posted as the provider's own records."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from eventhub.ingest import adapters

BATCH = 300


class RealMatch(NamedTuple):
    """A file of data/broadcast, read through its adapter, and how the match ended."""

    name: str
    feed: adapters.Feed
    score: tuple[int, int]


SCORES = {
    "2057954": (5, 0),
    "2057958": (3, 0),
    "2057959": (2, 1),
    "2057960": (3, 3),
    "2058003": (4, 3),
    "2058007": (3, 2),
}


def real_matches() -> list[RealMatch]:
    """All six; fails with a sentence when the data is not beside the repository."""
    folder = Path(__file__).parents[3] / "shared" / "data" / "broadcast"
    assert folder.is_dir(), (
        f"the real matches are expected in {folder.name} beside the repository (shared/data/broadcast)"
    )
    wyscout = adapters.load()["wyscout"]
    return [RealMatch(name, wyscout.read(folder / f"{name}.json.gz"), score) for name, score in SCORES.items()]


CARDS = {
    "2057954": ((1, 0), (1, 0)),
    "2057958": ((1, 0), (3, 1)),
    "2057959": ((0, 0), (2, 0)),
    "2057960": ((1, 0), (1, 0)),
    "2058003": ((3, 0), (5, 0)),
    "2058007": ((0, 0), (1, 0)),
}
"""Yellow and red cards of home and away, counted from the tags of the files."""


class Source:
    """Posts to any of several nodes until each batch is accepted; remembers the ids that were."""

    def __init__(self, urls: Sequence[str], broadcast_key: str, admin_key: str) -> None:
        self.urls = list(urls)
        self.accepted: dict[str, list[str]] = {}
        self.answers = 0
        self.refused = 0
        self._keys = {"broadcast": broadcast_key, "admin": admin_key}
        self._http = httpx2.AsyncClient(timeout=30)
        self._turn = 0

    async def close(self) -> None:
        await self._http.aclose()

    async def declare(self, match_id: str, match: RealMatch, *, starts_at: datetime | None = None) -> None:
        start = starts_at or datetime.now(UTC) - timedelta(hours=3)
        body = json.dumps({**match.feed.declaration, "starts_at": start.isoformat()}).encode()
        await self._send("PUT", f"/v1/matches/{match_id}", body, "admin")

    async def play(
        self,
        match_id: str,
        match: RealMatch,
        *,
        batch: int = BATCH,
        after: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """The whole match at full speed: periods as canonical events, records as the provider's own.

        `after` is awaited after each accepted batch.
        """
        for period, first_s, last_s in match.feed.periods:
            await self._canonical(match_id, "period_start", period, first_s)
            records = [record for name, _, record in match.feed.records if name == period]
            for start in range(0, len(records), batch):
                await self.post(match_id, records[start : start + batch])
                if after is not None:
                    await after()
            await self._canonical(match_id, "period_end", period, last_s)
        await self._canonical(match_id, "match_end", period, last_s)

    async def post(self, match_id: str, records: Sequence[bytes]) -> None:
        """Provider records as NDJSON, until they are accepted."""
        path = f"/v1/ingest/broadcast/wyscout?match_id={match_id}"
        self._keep(match_id, await self._send("POST", path, b"\n".join(records), "broadcast"))

    async def _canonical(self, match_id: str, kind: str, period: str, clock_s: float) -> None:
        event = {
            "source_event_id": f"{match_id}:{period}:{kind}",
            "match_id": match_id,
            "type": kind,
            # The bytes of one event are the same however often it is sent.
            "occurred_at": "2026-01-01T00:00:00Z",
            "period": period,
            "clock_s": clock_s,
        }
        self._keep(match_id, await self._send("POST", "/v1/ingest/broadcast", json.dumps(event).encode(), "broadcast"))

    def _keep(self, match_id: str, answer: dict[str, Any]) -> None:
        assert not answer["rejected"], answer["rejected"][:3]
        self.accepted.setdefault(match_id, []).extend(i["event_id"] for i in answer["items"])

    async def _send(self, method: str, path: str, body: bytes, key: str) -> dict[str, Any]:
        async with asyncio.timeout(120):
            while True:
                url = self.urls[self._turn % len(self.urls)]
                try:
                    answer = await self._http.request(
                        method, url + path, content=body, headers={"Authorization": f"Bearer {self._keys[key]}"}
                    )
                except httpx2.HTTPError:
                    self._turn += 1
                else:
                    if answer.status_code in (200, 201, 202):
                        self.answers += 1
                        result: dict[str, Any] = answer.json()
                        return result
                    assert answer.status_code in (429, 503), answer.text
                    self.refused += 1
                await asyncio.sleep(0.05)
