"""The page in a real browser against a real node: it shows what the API says, and loses nothing."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import httpx2
import pytest
from playwright.async_api import Page, async_playwright, expect

from eventhub import kafka, operations
from tests.support.feed import RealMatch
from tests.support.nodes import NodeProcess, running
from tests.system.checks import final
from tests.system.conftest import Platform

ASIDE = {"state", "stats", "tracking_frame", "translation"}
"""Types that have no line of their own on the page."""
GOALS, CARDS = ("goal", "own_goal"), ("yellow_card", "second_yellow_card", "red_card")
HOSTILE = '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script>'
LIVE = "live"
PRIME = "\u2032"
TIMEOUT_MS = 15_000


class Scene(NamedTuple):
    """A node, a page that is open on it, and keys to send with."""

    platform: Platform
    node: NodeProcess
    page: Page
    keys: dict[str, str]

    async def send(self, source: str, *events: dict[str, Any]) -> list[str]:
        """Post canonical events of the live match; returns their ids."""
        now = datetime.now(UTC).isoformat()
        body = [{"match_id": LIVE, "occurred_at": now, "period": "first_half", **event} for event in events]
        async with httpx2.AsyncClient(timeout=10) as http:
            headers = {"Authorization": f"Bearer {self.keys[source]}"}
            answer = await http.post(f"{self.node.url}/v1/ingest/{source}", json=body, headers=headers)
            assert answer.status_code == 202, answer.text
            return [item["event_id"] for item in answer.json()["items"]]

    async def events(self, match_id: str) -> list[dict[str, Any]]:
        """Every event of a match by the API."""
        found: list[dict[str, Any]] = []
        query = "limit=1000"
        while True:
            answer = await self.platform.get(self.node, f"/v1/matches/{match_id}/events?{query}")
            found += answer["items"]
            if answer["next_cursor"] is None:
                return found
            query = f"limit=1000&cursor={answer['next_cursor']}"

    async def shown(self) -> list[str]:
        """The ids of all lines, revisions and posts of the page."""
        script = "[...document.querySelectorAll('[data-event-id]')].map(n => n.dataset.eventId)"
        found: list[str] = await self.page.evaluate(script)
        return found

    async def has(self, expression: str, what: str) -> None:
        """Wait until it holds in the page."""
        try:
            # As a function: the page's policy lets no text be evaluated again and again.
            await self.page.wait_for_function(f"() => {expression}", timeout=TIMEOUT_MS)
        except Exception as error:
            raise AssertionError(f"the page never showed {what}: {expression}") from error


@pytest.mark.timeout(240)
async def test_the_page_shows_what_the_api_says_and_loses_nothing(platform: Platform, matches: list[RealMatch]) -> None:
    node = platform.node("one")
    keys = await _keys(platform)
    async with running(node), _browser() as (page, complaints):
        source = platform.source(node)
        for match in matches:
            await source.declare(match.name, match)
        await asyncio.gather(*(source.play(match.name, match) for match in matches))
        await source.close()
        await _declare_live(node, platform.admin_key)
        scene = Scene(platform, node, page, keys)
        await page.goto(node.url)
        for match in matches:
            await check_a_real_match(scene, match.name)
        await check_everything_is_listed_once(scene, matches[0].name)
        await check_a_goal_that_is_taken_back(scene)
        await check_posts_and_positions(scene)
        await check_a_dropped_connection(scene)
        await check_a_notice(scene)
        await check_the_code_of_the_view(scene)
        await check_the_keyboard_and_a_narrow_screen(scene)
        assert complaints == []
        await check_a_node_that_gives_no_tokens(scene)


async def check_a_real_match(scene: Scene, name: str) -> None:
    """Score, scorers and cards are those of the sheet."""
    sheet = await final(scene.platform, scene.node, name)
    await scene.page.locator(f'#matches a[href="#match={name}"]').click()
    await scene.has(f"document.getElementById('board').dataset.match === '{name}'", f"the board of {name}")
    assert scene.page.url.endswith(f"#match={name}")
    for side, other in (("home", "away"), ("away", "home")):
        team, score = sheet[side], sheet[side]["score"]
        await expect(scene.page.locator(f"#{side}-name")).to_have_text(team["name"])
        await expect(scene.page.locator(f"#{side}-score .hidden")).to_have_text(str(score))
        goals = [i for i in sheet["incidents"] if i["type"] in GOALS and i["minute"] is not None]
        theirs = [i for i in goals if i["team_id"] == (sheet[other] if i["type"] == "own_goal" else team)["id"]]
        assert len(theirs) == score
        cards = [i for i in sheet["incidents"] if i["type"] in CARDS and i["team_id"] == team["id"]]
        lines = scene.page.locator(f"#{side}-incidents [data-incident]")
        await expect(lines).to_have_count(len(theirs) + len(cards))
        found = await lines.evaluate_all(
            "all => all.map(n => [n.dataset.incident, n.dataset.type, n.textContent.trim(),"
            " n.parentElement.querySelector('.who').textContent])"
        )
        expected = [[i["event_id"], i["type"], f"{i['minute']}{PRIME}", i["player"]] for i in theirs + cards]
        assert sorted(found) == sorted(expected)


async def check_everything_is_listed_once(scene: Scene, name: str) -> None:
    """The whole history of a match, in log order from the bottom up, nothing twice."""
    page = scene.page
    await page.locator(f'#matches a[href="#match={name}"]').click()
    await page.get_by_text("Everything").click()
    wanted = [e["event_id"] for e in await scene.events(name) if e["type"] not in ASIDE]
    assert len(wanted) > 1000
    await scene.has(f"document.querySelectorAll('[data-event-id]').length >= {len(wanted)}", "the whole history")
    assert (await scene.shown())[::-1] == wanted
    assert await page.evaluate("document.body.dataset.duplicates") == "0"


async def check_a_goal_that_is_taken_back(scene: Scene) -> None:
    """The goal counts, then it is struck through with the revision beside it, on the board as well."""
    page = scene.page
    await page.goto(f"{scene.node.url}/#match={LIVE}")
    goal = {"source_event_id": "g1", "type": "goal", "team_id": "h", "player_id": "h-9", "clock_s": 600}
    [start_id] = await scene.send("broadcast", {"source_event_id": "s", "type": "period_start", "clock_s": 0})
    # Who was not subscribed yet takes a goal for history, and announces none.
    await expect(page.locator(f'#timeline li[data-event-id="{start_id}"]')).to_have_count(1)
    place = {"payload": {"x": 40, "y": 5}}
    [goal_id] = await scene.send("broadcast", {**goal, **place})
    await expect(page.locator("#home-score .hidden")).to_have_text("1")
    await expect(page.locator("#home-incidents .goal")).to_contain_text("Una Nine")
    await expect(page.locator("#announce")).to_contain_text("Goal! Una Nine")
    await expect(page.locator("#home-name")).to_have_text("Home & <b>Sons</b>")
    # y = 5 is the left of the home attack, and the top of the picture.
    drawn = page.locator(f'[data-action="{goal_id}"] .foot')
    await expect(drawn).to_have_attribute("cx", "92.5")
    await expect(drawn).to_have_attribute("cy", "29")
    line = page.locator(f'#timeline li[data-event-id="{goal_id}"]')
    await expect(line.locator("del")).to_have_count(0)
    [revision_id] = await scene.send("broadcast", {**goal, **place, "type": "shot", "revision": 1, "action": "update"})
    await expect(line.locator("del")).to_contain_text("Goal Una Nine")
    assert await line.locator("del").evaluate("n => getComputedStyle(n).textDecorationLine") == "line-through"
    revision = line.locator(f'ins[data-event-id="{revision_id}"]')
    await expect(revision).to_contain_text("no goal")
    await expect(revision).to_contain_text("Shot Una Nine")
    await expect(page.locator("#home-score .hidden")).to_have_text("0")
    await expect(page.locator("#home-incidents .undone")).to_contain_text("Una Nine")


async def check_posts_and_positions(scene: Scene) -> None:
    """A hostile post is words; a frame puts everybody where they are."""
    page = scene.page
    post = {"source_event_id": "p1", "type": "post", "payload": {"text": HOSTILE, "lang": '"><b>', "author": "<i>me"}}
    frame = {"players": [["h-9", 10, 20], ["a-4", -30.5, -10]], "ball": [0, 0]}
    [post_id] = await scene.send("social", post)
    await scene.send("sensors", {"source_event_id": "t1", "type": "tracking_frame", "payload": frame})
    shown = page.locator(f'#posts li[data-event-id="{post_id}"]')
    await expect(shown.locator(".words")).to_have_text(HOSTILE)
    await expect(shown).to_contain_text("<i>me")
    assert await page.locator("#posts :is(img, script, i)").count() == 0
    assert await page.evaluate("window.harmed") is None
    await expect(page.locator("#players:not(.stale) .player.home")).to_have_attribute("data-player", "h-9")
    await expect(page.locator("#players:not(.stale) .player.away")).to_have_count(1)
    home = await page.locator("#players .player.home").evaluate("n => n.style.transform")
    assert home == "translate(62.5px, 14px)"


async def check_a_dropped_connection(scene: Scene) -> None:
    """What happens while the page is away follows at its return: no gap, nothing twice."""
    page = scene.page
    before = await scene.shown()
    await page.locator("#drawer-toggle").click()
    await page.get_by_role("button", name="Drop my connection").click()
    await expect(page.locator("#chip")).to_have_attribute("data-state", "reconnecting")
    passes = [{"source_event_id": f"m{n}", "type": "pass", "team_id": "a", "clock_s": 700 + n} for n in range(20)]
    missed = await scene.send("broadcast", *passes)
    assert await scene.shown() == before, "the page was not away"
    await expect(page.locator("#chip")).to_have_attribute("data-state", "live", timeout=TIMEOUT_MS)
    await scene.has(f"document.querySelector('[data-event-id=\"{missed[-1]}\"]')", "the last event of the gap")
    gap = page.locator("#gap")
    await expect(gap).to_have_attribute("data-recovered", "true")
    assert int(await gap.get_attribute("data-count") or 0) >= len(missed)
    wanted = [e["event_id"] for e in await scene.events(LIVE) if e["type"] not in ASIDE]
    assert sorted(await scene.shown()) == sorted(wanted)
    assert set(wanted) == {*before, *missed}
    assert await page.evaluate("document.body.dataset.duplicates") == "0"
    await page.keyboard.press("Escape")


async def check_a_notice(scene: Scene) -> None:
    """Read-only is told as long as it lasts."""
    banner = scene.page.locator("#notice")
    await expect(banner).to_be_hidden()
    async with httpx2.AsyncClient(timeout=10) as http:
        for mode in ("read_only", "normal"):
            body = {"mode": mode, "reason": "moving the database", "actor": "tester"}
            url = f"{scene.node.admin_url}/v1/admin/mode"
            assert (await http.put(url, json=body, headers={"If-Match": "*"})).status_code == 200
            if mode == "read_only":
                await expect(banner).to_contain_text("The platform is read-only")
                await expect(banner).to_contain_text("Moving the database.")
    await expect(banner).to_be_hidden()


async def check_the_code_of_the_view(scene: Scene) -> None:
    """What the drawer offers to copy runs, and gets this match."""
    page = scene.page
    token = scene.platform.token()
    await page.locator("#drawer-toggle").click()

    async def code(language: str) -> str:
        await page.get_by_role("button", name=language, exact=True).click()
        return await page.locator("#snippet").input_value()

    environ = {**os.environ, "TOKEN": token}
    python, javascript = await code("Python"), await code("JavaScript")
    await page.keyboard.press("Escape")
    if shutil.which("curl"):
        await page.locator("#drawer-toggle").click()
        out = await _first_output("bash", "-c", await code("curl"), env=environ)
        await page.keyboard.press("Escape")
        assert LIVE in out
    assert "'type': 'connected'" in await _first_output(sys.executable, "-c", python, env=environ)
    script = (
        f"new Promise(done => {{ const process = {{ env: {{ TOKEN: {token!r} }} }}; const seen = [];"
        " const console = { log: m => { seen.push(m.type); if (seen.includes('subscribed')) done(seen); } };"
        f"{javascript} }})"
    )
    assert "subscribed" in await page.evaluate(script)


async def check_the_keyboard_and_a_narrow_screen(scene: Scene) -> None:
    """The drawer opens and closes without a mouse; nothing is wider than a small phone."""
    page = scene.page
    await page.evaluate("document.activeElement.blur()")
    focused = "document.activeElement.id"
    for _ in range(30):
        await page.keyboard.press("Tab")
        if await page.evaluate(focused) == "drawer-toggle":
            break
    assert await page.evaluate(focused) == "drawer-toggle"
    await page.keyboard.press("Enter")
    await expect(page.locator("#drawer")).to_be_visible()
    await expect(page.locator("#drawer-toggle")).to_have_attribute("aria-expanded", "true")
    assert await page.evaluate(focused) == "drawer-close"
    await page.set_viewport_size({"width": 360, "height": 740})
    await scene.has("document.documentElement.scrollWidth <= 360", "a page of 360 px with the drawer")
    await page.keyboard.press("Escape")
    await expect(page.locator("#drawer")).to_be_hidden()
    assert await page.evaluate(focused) == "drawer-toggle"
    await scene.has("document.documentElement.scrollWidth <= 360", "a page of 360 px")


async def check_a_node_that_gives_no_tokens(scene: Scene) -> None:
    """As in production: the page asks its reader, and shows the same with the reader's token."""
    page = scene.page
    await page.route("**/page/token", lambda route: route.fulfill(status=404, body="{}"))
    await page.reload()
    await page.get_by_label("Access token").fill(scene.platform.token())
    await page.get_by_role("button", name="Watch").click()
    await expect(page.locator("#home-score .hidden")).to_have_text("0")
    await expect(page.locator("#chip")).to_have_attribute("data-state", "live")


@asynccontextmanager
async def _browser() -> AsyncIterator[tuple[Page, list[str]]]:
    """A page of headless Chromium, and everything that its console complains about."""
    path = shutil.which("chromium")
    assert path is not None, "this test needs the browser Chromium: install the package `chromium`"
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(TIMEOUT_MS)
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page, complaints
        await browser.close()


async def _keys(platform: Platform) -> dict[str, str]:
    writer = kafka.Writer(platform.cluster)
    await writer.open()
    made = {source: await operations.write_key(writer, source) for source in ("social", "sensors")}
    await writer.close()
    return {**made, "broadcast": platform.broadcast_key}


async def _declare_live(node: NodeProcess, admin_key: str) -> None:
    body = {
        "home": {"id": "h", "name": "Home & <b>Sons</b>"},
        "away": {"id": "a", "name": "Away"},
        "players": [
            {"id": "h-9", "name": "Una Nine", "team_id": "h"},
            {"id": "a-4", "name": "Ada Four", "team_id": "a"},
        ],
        "starts_at": (datetime.now(UTC) - timedelta(minutes=20)).isoformat(),
    }
    async with httpx2.AsyncClient(timeout=10) as http:
        headers = {"Authorization": f"Bearer {admin_key}"}
        answer = await http.put(f"{node.url}/v1/matches/{LIVE}", json=body, headers=headers)
        assert answer.status_code in (200, 201), answer.text


async def _first_output(*command: str, env: dict[str, str]) -> str:
    """What a program prints first; then it is ended, and must not have failed before."""
    process = await asyncio.create_subprocess_exec(
        *command, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        async with asyncio.timeout(20):
            line = await process.stdout.readline()
        assert line, (await process.stderr.read()).decode()
        return line.decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
