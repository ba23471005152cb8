"""A task is ended even if it lost the cancellation that told it to."""

import asyncio

from eventhub.tasks import end


async def test_a_task_that_lost_a_cancellation_is_cancelled_again() -> None:
    lost = 0

    async def deaf() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost += 1
                if lost == 2:
                    raise

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    await end(task)
    assert task.cancelled() and lost == 2


async def test_what_ended_tasks_raise_is_dropped() -> None:
    async def fails() -> None:
        raise OSError("nobody asks")

    async def returns() -> int:
        return 1

    tasks = [asyncio.create_task(fails()), asyncio.create_task(returns())]
    await asyncio.wait(tasks)
    await end(*tasks)
