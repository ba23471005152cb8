"""Nodes that lack one guarantee of live delivery, or at its edge, each; tests.drills.mutants knows them by name.

Each is a patch made before the node starts; the product has no branch for it.
"""

import os
from collections.abc import Awaitable, Callable, Hashable
from pathlib import Path
from typing import Any

from eventhub.bucket import Bucket
from eventhub.delivery.connection import Connection
from eventhub.delivery.doors import Doors
from eventhub.delivery.resume import Follower
from eventhub.delivery.shared import Fetched, Shared
from eventhub.delivery.sheets import Sheets
from eventhub.ingest import window
from eventhub.record import LogRecord
from eventhub.storage import HistoryReader

PAGES = "EVENTHUB_DRILL_PAGES"
"""Names the file that gets a line for each page that PostgreSQL is asked for."""


def joins_without_the_rest() -> None:
    """Who resumes is live at once, without what passed meanwhile."""
    remaining = Follower._remaining

    def only_fetched(self: Follower, partition: int, matches: list[str]) -> Any:
        found = remaining(self, partition, matches)
        return None if found is None else [e for m in matches for e in self._buffer.get(m, ())]

    Follower._remaining = only_fetched  # type: ignore[method-assign]


def all_at_once() -> None:
    """A node that ends tells nobody to wait."""
    away = Connection.send_away
    Connection.send_away = lambda self, code, reason, **_: away(self, code, reason)  # type: ignore[method-assign]


def states_are_where_they_stand() -> None:
    """A state counts as holding everything that came before it on the log, not only what was folded into it."""
    fold = Sheets.fold

    def placed(self: Sheets, record: LogRecord) -> None:
        fold(self, record)
        if self._at.get(record.match_id) == record.offset:
            self._held[record.match_id] = self._held[record.match_id]._replace(applied=record.offset)

    Sheets.fold = placed  # type: ignore[method-assign]


def pages_told() -> None:
    """Nothing is taken away: each page that PostgreSQL is asked for is noted."""
    page, path = HistoryReader.page, Path(os.environ.pop(PAGES))

    def noted(self: HistoryReader, match_id: str, **more: Any) -> Any:
        with path.open("a") as file:
            file.write(f"{match_id} {more['after']}\n")
        return page(self, match_id, **more)

    HistoryReader.page = noted  # type: ignore[method-assign]


def each_for_himself() -> None:
    """Every page is fetched for each who asks."""
    pages_told()

    async def alone(self: Shared[Any], key: Hashable, fetch: Callable[[], Awaitable[Fetched[Any]]]) -> Any:
        async with self._turns:
            return (await fetch()).value

    Shared.get = alone  # type: ignore[method-assign]


def no_limits() -> None:
    """Everybody may come, as often and as many as they like, and say what they like."""
    Doors._bound = lambda *_: None  # type: ignore[method-assign]
    Bucket.take = lambda *_: 0  # type: ignore[method-assign]


def sensors_do_not_wait() -> None:
    """What sensors send goes onto the path at once, however much of it is there."""
    window.Window._wait_s = window.Window._approach_s = lambda *_: 0  # type: ignore[assignment, method-assign]


def nothing_is_silent() -> None:
    """Nothing is taken away, but that a machine with other work stands still for a second is no silence."""
    window.SILENT_S = 60


LIVE = {
    "joins-without-the-rest": joins_without_the_rest,
    "all-at-once": all_at_once,
    "states-are-where-they-stand": states_are_where_they_stand,
    "pages-told": pages_told,
    "each-for-himself": each_for_himself,
    "no-limits": no_limits,
    "sensors-do-not-wait": sensors_do_not_wait,
    "nothing-is-silent": nothing_is_silent,
}
