"""Ending tasks, for certain."""

import asyncio
from typing import Any

AGAIN_S = 1.0


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and return once they have ended; what they return or raise is dropped.

    Cancels again every second: Python 3.11's `wait_for`, which libraries call too, loses a cancellation that comes
    together with its answer (github.com/python/cpython issue 86296), and such a task would live on.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()
