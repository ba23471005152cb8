"""A wait ends at its deadline whatever its condition does with the cancellation."""

import asyncio

import pytest

from tests.support.wait import until


async def test_a_condition_that_swallows_the_cancellation_is_not_waited_for_for_ever() -> None:
    swallowed = 0

    async def deaf() -> bool:
        nonlocal swallowed
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            swallowed += 1
        return False

    with pytest.raises(pytest.fail.Exception, match="for nothing"):
        await until(deaf, "nothing", timeout_s=0.1)
    assert swallowed == 1
