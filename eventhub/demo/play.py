"""Playing the generated match: in match time, batch by batch, through whatever `post` is. No I/O of its own."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from eventhub.demo.items import Demo, Item

Post = Callable[[str, list[dict[str, Any]]], Awaitable[None]]
TICK_S = 0.25


def body(item: Item, *, match_id: str, starts_at: datetime, now: datetime) -> dict[str, Any]:
    """The canonical event. Broadcast occurred by the match clock; sensors and social now: their windows are short."""
    clock_s = item.event.get("clock_s")
    occurred_at = now if clock_s is None else starts_at + timedelta(seconds=clock_s)
    return {"match_id": match_id, "occurred_at": occurred_at.isoformat(), **item.event}


async def play(
    demo: Demo,
    *,
    match_id: str,
    starts_at: datetime,
    speed: float,
    post: Post,
    clock: Callable[[], datetime],
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    """Post everything in order, `speed` times as fast as it was played; returns after the last item.

    Each source's due items go out as one batch, and the next one only after that was posted.
    """
    begun = clock()
    index = 0
    while index < len(demo.items):
        played_s = (clock() - begun).total_seconds() * speed
        due: dict[str, list[dict[str, Any]]] = {}
        while index < len(demo.items) and demo.items[index].due_s <= played_s:
            item = demo.items[index]
            event = body(item, match_id=match_id, starts_at=starts_at, now=clock())
            due.setdefault(item.source, []).append(event)
            index += 1
        for source, events in due.items():
            await post(source, events)
        await sleep(TICK_S)
