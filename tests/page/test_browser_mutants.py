"""What the browser's test would notice: the page with one guarantee taken away on its way to the browser."""

import pytest
from playwright.async_api import Route

from tests.page.test_browser import LIVE, Scene, _browser, _declare_live, _keys, check_a_dropped_connection
from tests.support.nodes import running
from tests.system.conftest import Platform

RESUMES, STARTS_ANEW = "{ cursor: this.cursor }", "{}"


@pytest.mark.timeout(180)
async def test_it_finds_out_a_page_that_does_not_resume_after_its_cursor(platform: Platform) -> None:
    node, patched = platform.node("one"), 0

    async def tampered(route: Route) -> None:
        nonlocal patched
        answer = await route.fetch()
        script = await answer.text()
        patched += script.count(RESUMES)
        await route.fulfill(response=answer, body=script.replace(RESUMES, STARTS_ANEW))

    async with running(node), _browser() as (page, _):
        await _declare_live(node, platform.admin_key)
        scene = Scene(platform, node, page, await _keys(platform))
        await page.route("**/eventhub.js*", tampered)
        await page.goto(f"{node.url}/#match={LIVE}")
        [seen] = await scene.send("broadcast", {"source_event_id": "p", "type": "pass", "team_id": "h", "clock_s": 60})
        await page.get_by_text("Everything").click()
        await scene.has(f"document.querySelector('[data-event-id=\"{seen}\"]')", "an event")
        assert patched == 1, "the page resumes elsewhere"
        with pytest.raises(AssertionError, match=r'locator\("#gap"\)'):
            await check_a_dropped_connection(scene)
