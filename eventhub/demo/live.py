"""The generated match against a real node: declared and posted over HTTP, as any source would."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import structlog

from eventhub.demo.play import play
from eventhub.demo.script import generate

LONGEST = timedelta(hours=3)
AGAIN_S = 0.2
log = structlog.get_logger(__name__)


async def run(
    url: str, keys: Mapping[str, str], *, seed: int, speed: float, say: Callable[[str], None], program: str
) -> None:
    """Declare and play one match; `keys` by source, with one of `admin`. Returns after its end.

    `say` is told how to follow it with `program`.
    Refused items are logged; a node that does not answer is asked again, in order, until this is cancelled.
    """
    made = generate(seed)
    begun = datetime.now(UTC)
    match_id = f"demo-{begun:%Y%m%d-%H%M%S}"
    # So that nothing lies ahead of the clock, however fast it is played.
    starts_at = begun - LONGEST * (1 - 1 / max(1.0, speed))
    async with httpx2.AsyncClient(base_url=url, timeout=30) as http:

        async def send(method: str, path: str, key: str, body: Any) -> None:
            while True:
                try:
                    headers = {"Authorization": f"Bearer {keys[key]}"}
                    answer = await http.request(method, path, json=body, headers=headers)
                except httpx2.HTTPError as error:
                    log.warning("demo waits for the node", error=repr(error))
                else:
                    if answer.status_code not in (401, 429, 503):
                        if answer.status_code >= 300 or answer.json().get("rejected"):
                            log.error("demo was refused", status=answer.status_code, answer=answer.text[:500])
                        return
                await asyncio.sleep(AGAIN_S)

        async def post(source: str, events: list[dict[str, Any]]) -> None:
            await send("POST", f"/v1/ingest/{source}", source, events)

        await send("PUT", f"/v1/matches/{match_id}", "admin", made.declaration | {"starts_at": starts_at.isoformat()})
        say(f"a generated match is live at {speed:g} times its speed; follow it with")
        say(f"  {program} events tail match:{match_id} --node {url}")
        await play(
            made,
            match_id=match_id,
            starts_at=starts_at,
            speed=speed,
            post=post,
            clock=lambda: datetime.now(UTC),
            sleep=asyncio.sleep,
        )
        say(f"match {match_id} has ended")
