"""The JavaScript client where the scenarios do not lead: programs that are slow, and that leave and come back."""

from typing import Any

import pytest

from clients.conformance.node import playing
from clients.conformance.scenarios import START, Scenario, behind
from clients.conformance.steps import Cut, Left, connection, end, event, frame, subscribed
from tests.clients.drivers import js_files
from tests.support.browser import browser

MANY = 40
FOLLOW = """
async ({ url, options, dropAt }) => {
  const { Client } = await import("/js/eventhub.js");
  const client = new Client(url, { token: "t", backoffMs: [20, 200], ...options });
  const seen = [];
  client.subscribe("match:m", { from: "start" });
  for await (const { event } of client) {
    seen.push(event.event_id);
    if (event.event_id === "end") break;
    if (event.event_id === dropAt) client.drop(300);
  }
  const { cursors } = client;
  client.close();
  return { seen, cursors, after: await client.next() };
}
"""


def scenario(*connections: Any) -> Scenario:
    return Scenario("of this test", "", connections, (), ())


@pytest.mark.parametrize(
    ("how", "last"),
    [({"options": {"buffer": 10}, "dropAt": None}, MANY), ({"options": {}, "dropAt": "e3"}, 3)],
    ids=["more messages wait than may", "the program drops the connection"],
)
async def test_what_is_not_taken_follows_behind_the_cursor(how: dict[str, Any], last: int) -> None:
    events = [event(n, f"e{n}") for n in range(1, MANY + 1)]
    played = scenario(
        connection(frame(subscribed(), *events), Left()),
        connection(frame(subscribed(), *events[last:]), frame(end())),
    )
    async with browser() as chromium, playing([played], js_files()) as (url, [game]):
        page = await chromium.new_page()
        await page.goto(f"{url}/index.html")
        told = await page.evaluate(FOLLOW, {"url": f"{url}/0", **how})
    assert told["seen"] == [*(f"e{n}" for n in range(1, MANY + 1)), "end"]
    assert told["cursors"] == {"match:m": "e.0.99"}
    assert told["after"] == {"done": True} or told["after"] == {"done": True, "value": None}
    assert [one.channels for one in game.asked] == [[START], [behind(last)]]


async def test_it_gives_up_when_it_is_told_to() -> None:
    script = """
    async (url) => {
      const { Client, GaveUpError } = await import("/js/eventhub.js");
      const retries = [];
      const onRetry = (error) => retries.push(error.name);
      const options = { token: "t", backoffMs: [10, 20], giveUpAfterMs: 200, onRetry };
      const client = new Client(url, options);
      client.subscribe("match:m");
      try {
        await client.next();
      } catch (error) {
        return [error instanceof GaveUpError, error.message, new Set(retries).size];
      }
    }
    """
    async with browser() as chromium, playing([scenario(connection(Cut()))], js_files()) as (url, _):
        page = await chromium.new_page()
        await page.goto(f"{url}/index.html")
        gave_up, text, kinds = await page.evaluate(script, f"{url}/nowhere")
    assert gave_up
    assert "gave no subscription for 200 ms" in text
    assert kinds == 1
