"""`python -m tests.support.blocked HOW`: an event loop under a watchdog with short limits; prints a line each turn.

HOW: `turn` on and on; `stop` for ever; `mute`, stopping where nobody reads its log; `twice`, stopping for a while, two
times, and turning on.
"""

import asyncio
import os
import sys
import time

from eventhub import telemetry
from eventhub.watchdog import Watchdog

DUMP_AFTER_S, EXIT_AFTER_S, EVERY_S = 0.5, 2.0, 0.1


def fall_asleep(seconds: float) -> None:
    """A name to be found in the stacks."""
    time.sleep(seconds)


async def turn(times: int) -> None:
    for _ in range(times):
        print("turn", flush=True)
        await asyncio.sleep(EVERY_S)


async def run(how: str) -> None:
    with Watchdog(dump_after_s=DUMP_AFTER_S, exit_after_s=EXIT_AFTER_S, every_s=EVERY_S).watching():
        await turn(5)
        if how == "stop":
            fall_asleep(3600)
        elif how == "mute":
            os.write(2, b"x" * (1 << 24))
        elif how == "twice":
            for _ in range(2):
                fall_asleep(DUMP_AFTER_S + 4 * EVERY_S)
                await turn(5)
        await turn(10 if how == "twice" else 36_000)


if __name__ == "__main__":
    telemetry.set_up(terminal=False)
    asyncio.run(run(sys.argv[1]))
