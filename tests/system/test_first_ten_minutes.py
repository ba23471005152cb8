"""What a newcomer does first, on the embedded default: two nodes, the page, a token, an event, the switch, a crash."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.async_api import expect

from tests.support.browser import browser
from tests.support.clients import Client
from tests.support.nodes import NodeProcess, running
from tests.support.wait import until

MATCH = {"home": {"id": "reds", "name": "Reds"}, "away": {"id": "blues", "name": "Blues"}}
MATCH_ID = "my-match"


class Desk:
    """A person at a shell, in the data folder of the nodes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environ = {k: v for k, v in os.environ.items() if not k.startswith("EVENTHUB_")}
        self._environ["EVENTHUB_DATA_DIR"] = str(folder)

    async def run(self, *arguments: str) -> str:
        """A command's stdout; it must end with 0."""
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "eventhub", *arguments],
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.returncode == 0, f"eventhub {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}"
        return done.stdout.strip()


async def answer(method: str, url: str, key: str | None = None, body: Any = None) -> httpx2.Response:
    """A request as curl sends it. A key made a moment ago reaches the node a moment later."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(timeout=20) as http, asyncio.timeout(20):
        while True:
            got = await http.request(method, url, json=body, headers=headers)
            if got.status_code != 401 or key is None:
                return got
            await asyncio.sleep(0.05)


def event(number: int, **more: Any) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {"match_id": MATCH_ID, "type": "foul", "source_event_id": f"e{number}", "occurred_at": now, **more}


@asynccontextmanager
async def two_nodes(folder: Path, logs: Path) -> AsyncIterator[tuple[NodeProcess, NodeProcess]]:
    """The first plays the generated match; the second joins its services."""
    one = NodeProcess("one", logs, {}, shared=folder, flags=("--demo",))
    two = NodeProcess("two", logs, {}, shared=folder)
    async with running(one), running(two):
        yield one, two


@pytest.mark.timeout(300)
async def test_the_first_ten_minutes(own_folder: Path, tmp_path: Path) -> None:
    desk = Desk(own_folder / "data")
    async with two_nodes(desk.folder, tmp_path) as (one, two):
        broadcast, admin = await desk.run("keys", "create", "broadcast"), await desk.run("keys", "create", "admin")
        token = await desk.run("token", "create", "--user", "me")

        # A match of one's own, beside the generated one.
        declared = {**MATCH, "starts_at": datetime.now(UTC).isoformat()}
        assert (await answer("PUT", f"{one.url}/v1/matches/{MATCH_ID}", admin, declared)).status_code == 201
        listed = (await answer("GET", f"{two.url}/v1/matches", token)).json()["items"]
        assert MATCH_ID in [m["match_id"] for m in listed]
        assert any(m["match_id"].startswith("demo-") for m in listed)

        async with browser() as started, Client([two.url, one.url], lambda: token) as client:
            await client.subscribe(f"match:{MATCH_ID}", start="start")
            page = await started.new_page()
            await page.goto(f"{one.url}/#match={MATCH_ID}")
            await expect(page.locator("#home-name")).to_have_text("Reds", timeout=30_000)
            await page.locator('input[name="filter"][value="everything"]').check(force=True)

            # A posted event, seen by the tail and on the page.
            foul = event(1, team_id="reds")
            posted = await answer("POST", f"{one.url}/v1/ingest/broadcast", broadcast, foul)
            assert (posted.status_code, posted.json()["durable"]) == (202, "log")
            first = posted.json()["items"][0]["event_id"]
            tail = await desk.run(
                *("events", "tail", f"match:{MATCH_ID}", "--from", "start", "--count", "1", "--json", "--node", two.url)
            )
            assert json.loads(tail)["event"]["event_id"] == first
            await expect(page.locator(f'#timeline [data-event-id="{first}"]')).to_be_visible(timeout=30_000)
            # The same again, at another node: taken, and dropped as the duplicate that it is.
            assert (await answer("POST", f"{two.url}/v1/ingest/broadcast", broadcast, foul)).status_code == 202

            # What an operator looks at.
            for path in ("/livez", "/readyz", "/status"):
                assert (await answer("GET", one.admin_url + path)).status_code == 200
            assert (await answer("GET", f"{one.url}/openapi.json")).json()["openapi"].startswith("3.1")
            assert "kafka.partitions" in await desk.run("config", "show")

            # The switch: operators' writes are refused on both nodes, ingest and the live feed go on.
            assert await desk.run("mode", "set", "read-only", "--reason", "trying it") == "read_only"
            for node in (one, two):
                refused = await answer("PUT", f"{node.url}/v1/matches/other", admin, declared)
                assert (refused.status_code, refused.json()["code"]) == (503, "read_only")
                assert "retry-after" in refused.headers
            await expect(page.locator("#notice")).to_contain_text("Trying it", timeout=30_000)
            during = await answer("POST", f"{two.url}/v1/ingest/broadcast", broadcast, event(2))
            second = during.json()["items"][0]["event_id"]
            await expect(page.locator(f'#timeline [data-event-id="{second}"]')).to_be_visible(timeout=30_000)
            assert await desk.run("mode", "set", "normal") == "normal"
            for node in (one, two):
                assert (await answer("PUT", f"{node.url}/v1/matches/other", admin, declared)).status_code in (200, 201)

            # One of two nodes is killed: its client resumes on the other, without a gap.
            await until(lambda: len(client.events[f"match:{MATCH_ID}"]) >= 2, "both events")
            two.kill()
            third = await answer("POST", f"{one.url}/v1/ingest/broadcast", broadcast, event(3))
            assert third.status_code == 202
            wanted = [first, second, third.json()["items"][0]["event_id"]]
            await until(lambda: len(seen(client)) >= 3, "the third event, on the other node", timeout_s=60)
            assert seen(client) == wanted
            # It may have come back more often: it leaves a node that says nothing for 10 s.
            assert client.connections >= 2
            assert all(client.recovered)


def seen(client: Client) -> list[str]:
    """The ids of the posted events that the client got; the states between them are the platform's own."""
    events = map(json.loads, client.events[f"match:{MATCH_ID}"])
    return [e["event_id"] for e in events if e["type"] == "foul"]
