"""Far more of sensors than the path carries, and a goal now and then: what sensors send waits outside of the path.

How late a goal is then is measured by `benchmarks.overload`; here, how much can be in front of it.
"""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from eventhub import kafka, topics
from eventhub.tasks import end
from tests.drills.outage import mutated
from tests.support import oracle
from tests.support.clients import Client
from tests.support.feed import RealMatch
from tests.support.nodes import NodeProcess, running
from tests.support.wait import until
from tests.system.conftest import Platform

MATCH, CHANNEL = "flooded", "match:flooded"
SENDERS, BATCH = 8, 100
FRAMES = SENDERS * BATCH
MOST = 200
"""Frames on the raw topic that are not with a client: a window has 24 of this size, and two looks are not one."""
PLAYERS = [[f"p{n}", n + 0.25, -n - 0.5] for n in range(22)]


def frames(events: Sequence[bytes]) -> int:
    return sum(b'"type":"tracking_frame"' in event for event in events)


class Flood:
    """Sources that send all at once, and a commentator who reports a goal every 50 ms."""

    def __init__(self, platform: Platform, node: NodeProcess, match: RealMatch, viewer: Client) -> None:
        self._platform, self._viewer = platform, viewer
        self._team = match.feed.declaration["home"]["id"]
        self._http = httpx2.AsyncClient(base_url=node.url, timeout=60)
        self.most = self.goals = self.looks = 0

    async def begin(self) -> None:
        """Returns when a goal came: what waits for the first one is the start of a node, not the path."""
        await self._goal()
        await until(lambda: bool(self._viewer.events[CHANNEL]), "the first goal to be with the viewer", 60)

    async def run(self) -> None:
        """Returns when everything was taken; `most` is the largest backlog that was seen."""
        beside = [asyncio.create_task(self._report()), asyncio.create_task(self._watch())]
        sending = [asyncio.create_task(self._send(n)) for n in range(SENDERS)]
        try:
            await asyncio.gather(*sending)
            # Neither of those beside ends by itself: one that did has failed, and says why.
            for task in beside:
                assert not task.done(), task.exception()
        finally:
            await end(*beside, *sending)
            await self._http.aclose()

    async def _send(self, sender: int) -> None:
        names = [f"s{sender}-{n}" for n in range(BATCH)]
        lines = [self._event("tracking_frame", name, payload={"players": PLAYERS}) for name in names]
        answer = await self._post("sensors", self._platform.sensors_key, b"\n".join(lines))
        assert answer["accepted"] == BATCH and not answer["rejected"]

    async def _report(self) -> None:
        while True:
            await self._goal()
            await asyncio.sleep(0.05)

    async def _goal(self) -> None:
        goal = self._event("goal", f"g{self.goals}", team_id=self._team, period="first_half", clock_s=60)
        await self._post("broadcast", self._platform.broadcast_key, goal)
        self.goals += 1

    async def _watch(self) -> None:
        offsets = kafka.Offsets(self._platform.cluster)
        await offsets.open()
        try:
            while True:
                ends = await offsets.ends(topics.SENSORS, self._platform.partitions)
                self.most = max(self.most, sum(ends.values()) - frames(self._viewer.events[CHANNEL]))
                self.looks += 1
        finally:
            await offsets.close()

    def _event(self, event_type: str, name: str, **more: Any) -> bytes:
        now = datetime.now(UTC).isoformat()
        event = {"match_id": MATCH, "type": event_type, "source_event_id": name, "occurred_at": now, **more}
        return json.dumps(event).encode()

    async def _post(self, source: str, key: str, body: bytes) -> Any:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
        while True:
            answer = await self._http.post(f"/v1/ingest/{source}", content=body, headers=headers)
            # Who has waited too long sends the same again.
            if answer.status_code != 503 or source != "sensors":
                assert answer.status_code == 202, answer.text
                return answer.json()
            assert answer.json()["code"] == "overloaded"


async def flooded(platform: Platform, match: RealMatch, program: tuple[str, ...]) -> None:
    node = NodeProcess("one", platform.folder, platform.environ, program)
    async with running(node):
        await platform.source(node).declare(MATCH, match, starts_at=datetime.now(UTC))
        async with platform.client(node) as viewer:
            await viewer.subscribe(CHANNEL)
            await until(lambda: viewer.recovered, "the viewer to be subscribed", 10)
            flood = Flood(platform, node, match, viewer)
            await flood.begin()
            await flood.run()
        assert flood.goals > 1 and flood.looks > 20

        async def all_there() -> bool:
            found = (await oracle.history(platform.dsn)).get(MATCH, [])
            return frames([body for _, _, body in found]) == FRAMES

        await until(all_there, "every frame that was taken to be in history", 60)
        assert flood.most <= MOST, f"{flood.most} events were in front of a goal"


@pytest.mark.timeout(180)
async def test_what_sensors_send_waits_outside_of_the_path(platform: Platform, matches: list[RealMatch]) -> None:
    await flooded(platform, matches[0], mutated("nothing-is-silent"))


@pytest.mark.timeout(180)
async def test_it_finds_out_sensors_that_do_not_wait(platform: Platform, matches: list[RealMatch]) -> None:
    with pytest.raises(AssertionError, match="in front of a goal"):
        await flooded(platform, matches[0], mutated("sensors-do-not-wait"))
