"""Waiting for a condition, with a deadline."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest


async def until(condition: Callable[[], Any], what: str, timeout_s: float = 60) -> None:
    """Return once the condition holds; fails with what was waited for. The condition may be a coroutine function."""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                found = condition()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"waited {timeout_s:g} s for {what}")
