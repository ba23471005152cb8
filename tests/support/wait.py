"""Waiting for a condition, with a deadline."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest


async def until(condition: Callable[[], Any], what: str, timeout_s: float = 60) -> None:
    """Return once the condition holds; fails with what was waited for. The condition may be a coroutine function."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    try:
        async with asyncio.timeout_at(deadline):
            # The clock is asked too: where the one cancellation is lost in a condition, the wait would never end.
            while loop.time() < deadline:
                asked_at = loop.time()
                found = condition()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return
                # Reading a whole log or history again and again takes the machine from those who are waited for.
                await asyncio.sleep(max(0.02, loop.time() - asked_at))
    except TimeoutError:
        pass
    pytest.fail(f"waited {timeout_s:g} s for {what}")
