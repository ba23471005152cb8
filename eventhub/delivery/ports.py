"""What delivery asks of the rest of the node: the log, history, seeds of the match sheets, and who may read.

Kafka, Postgres and tokens are behind these; nothing in this package knows them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from eventhub.auth import Principal
from eventhub.events import Match
from eventhub.record import LogRecord, Seed

__all__ = [
    "CatchUp",
    "Check",
    "History",
    "Log",
    "LogRecord",
    "Principal",
    "Registry",
    "Seed",
    "Seeds",
    "Still",
    "Stored",
]


class Log(Protocol):
    """`match-events` as delivery reads it: the whole of it, without a consumer group. Offsets are per partition."""

    @property
    def epoch(self) -> str:
        """The log's incarnation: letters, digits, `_` and `-`."""

    @property
    def partitions(self) -> int:
        """How many partitions there are, fixed."""

    @property
    def partition_of(self) -> Callable[[str], int]:
        """The partitioner: from match id to partition."""

    async def offsets_at(self, seconds_back: float) -> dict[int, int]:
        """The first offset appended at or after that time; the end where there is none."""

    async def ends(self) -> dict[int, int]:
        """The next offset that will be written. Raises UnavailableError."""

    async def beginnings(self) -> dict[int, int]:
        """The first offset that can still be read. Raises UnavailableError."""

    def tail(self, start: dict[int, int]) -> AsyncIterator[list[LogRecord]]:
        """Batches from `start` on, for ever, offsets ascending within a partition; empty ones while it is quiet."""

    def read(self, partition: int, start: int, end: int) -> AsyncIterator[list[LogRecord]]:
        """Batches of [start, end) of one partition, then it ends. Raises UnavailableError."""


class Stored(Protocol):
    """An event of history: its log offset and the exact bytes that the log has."""

    @property
    def offset(self) -> int:
        """Log offset."""

    @property
    def body(self) -> bytes:
        """The log record's value."""

    @property
    def revises(self) -> str:
        """The kinds of what it revises, as the log's record has them; empty for most."""


class History(Protocol):
    """The projection of the log in Postgres. Every call raises UnavailableError within its own deadline."""

    async def progress(self, partition: int) -> int:
        """The next offset not yet stored; all below are."""

    async def lost_above(self, partition: int, after: int) -> int | None:
        """The last offset above `after` that history never got, because the log no longer had it; None: it got all."""

    async def page(self, match_id: str, *, after: int, limit: int, types: Sequence[str] = ()) -> Sequence[Stored]:
        """Events of a match above an offset, ascending, at most `limit`.

        When `types` are given, only those and what revises them.
        """


class Seeds(Protocol):
    """Match states as aggregation left them, read once at start."""

    async def read(self) -> tuple[dict[str, Seed], dict[int, int]]:
        """Seeds by match id, and per partition the last offset that aggregation had applied (-1: none)."""


Check = Callable[[str], Principal]
"""From access token to whom it names. Raises UnauthorizedError."""

Still = Callable[[Principal], Principal]
"""The principal as it is now, with the plan of now. Raises UnauthorizedError when it was revoked since."""

CatchUp = Callable[[], Awaitable[None]]
"""Returns once the registry has every match that any node had declared when it was called. Raises UnavailableError."""

Registry = Mapping[str, Match]
"""The declared matches by id, alive: the node folds `match-registry` into it."""
