"""The driver of the Python SDK: plays a client in each of the runs on its command line, all at once.

What a client is handed goes to stdout as `[run, message]`, one a line. A run ends with the event `end`, with a close
for good, or after `timeout_s`.
"""

import asyncio
import base64
import json
import sys
import time
from typing import Any

from eventhub_client import Client, ClosedError, Event, RefusedError

BACKOFF_S = (0.02, 0.2)


def token_of(life_s: float | None, number: int) -> str:
    """A token that ends after `life_s`, as far as a client can see; what follows its claims is not looked at."""
    if life_s is None:
        return f"token-{number}"
    now = time.time()
    claims = json.dumps({"iat": now, "exp": now + life_s}).encode()
    return f"x.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.{number}"


async def drive(run: dict[str, Any]) -> None:
    def say(message: object) -> None:
        print(json.dumps([run["run"], message]), flush=True)

    given = 0

    async def provider() -> str:
        nonlocal given
        given += 1
        return token_of(run["life_s"], given)

    wanted = run["subscribe"]
    try:
        async with asyncio.timeout(run["timeout_s"]), Client(run["url"], provider, backoff_s=BACKOFF_S) as client:
            await client.subscribe(
                *(one["channel"] for one in wanted),
                cursors={one["channel"]: one["cursor"] for one in wanted if "cursor" in one},
                from_start=any("from" in one for one in wanted),
                **run["view"],
            )
            await follow(client, say)
    except TimeoutError:
        say({"type": "timeout"})
    except ClosedError as error:
        say({"type": "closed", "code": error.code})


async def follow(client: Client, say: Any) -> None:
    while True:
        try:
            async for message in client:
                say(message.raw)
                if isinstance(message, Event) and message.event_id == "end":
                    return
        except RefusedError as error:
            say({"type": "refused", "code": error.code, "channel": error.channel})


async def main() -> None:
    await asyncio.gather(*(drive(run) for run in json.loads(sys.argv[1])))


asyncio.run(main())
