"""PostgreSQL in memory, as far as history goes: unique event ids, progress rows with their locks, transactions.

It takes the product's own SQL by its first words, so that what is in one transaction is the product's decision.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any

from eventhub.errors import UnavailableError
from tests.simulation.loop import Process, SimLoop

Rows = list[tuple[Any, ...]]
LOCK_TIMEOUT_S = 5.0


class Postgres:
    """The server: committed rows, and who holds a lock."""

    def __init__(self, loop: SimLoop, rng: Random) -> None:
        self.loop, self._rng = loop, rng
        self.events: dict[str, tuple[Any, ...]] = {}
        self.progress: dict[tuple[str, int], int] = {}
        self.last_ms: dict[tuple[str, int], int | None] = {}
        self.gaps: set[tuple[Any, ...]] = set()
        self.down = False
        self.lose_commits = 0.0
        self.sessions: dict[Session, None] = {}
        self._holders: dict[tuple[str, int], Session] = {}
        self._queues: dict[tuple[str, int], deque[asyncio.Future[None]]] = {}

    async def reach(self, session: "Session") -> None:
        """The way there or back; breaks while the server is away."""
        await asyncio.sleep(0.0003 + 0.002 * self._rng.random())
        if self.down or session.broken:
            raise UnavailableError("PostgreSQL broke off (simulated)", retry_after_s=2)

    async def lock(self, session: "Session", row: tuple[str, int]) -> None:
        """FOR UPDATE."""
        if self._holders.get(row, session) is not session:
            try:
                async with asyncio.timeout(LOCK_TIMEOUT_S):
                    while row in self._holders:
                        await self._released(row)
            except TimeoutError as error:
                raise UnavailableError("lock_timeout (simulated)") from error
        if session.broken:
            raise UnavailableError("PostgreSQL broke off (simulated)")
        self._holders[row] = session
        session.locks.add(row)

    async def _released(self, row: tuple[str, int]) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(row, deque()).append(turn)
        await turn

    def commit(self, session: "Session") -> bool:
        """Everything of the transaction at once; False when the answer does not reach the client."""
        for change in session.changes:
            change()
        self.release(session)
        return self._rng.random() >= self.lose_commits

    def release(self, session: "Session") -> None:
        """The transaction is over, one way or the other."""
        session.changes.clear()
        for row in sorted(session.locks):
            del self._holders[row]
            queue = self._queues.get(row, deque())
            while queue:
                turn = queue.popleft()
                if not turn.done():
                    turn.set_result(None)
        session.locks.clear()

    def abort(self, process: Process) -> None:
        """The server found that this client is gone: its open transactions never were."""
        for session in [s for s in self.sessions if s.process is process]:
            session.broken = True
            self.release(session)


class Session:
    """One connection: statements take effect at once, or at the commit of the transaction around them."""

    def __init__(self, server: Postgres, process: Process) -> None:
        self.server, self.process = server, process
        self.broken = False
        self.changes: list[Callable[[], object]] = []
        self.locks: set[tuple[str, int]] = set()
        self._incoming: Rows = []
        self._within = False

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """All or nothing."""
        self._within = True
        try:
            yield
            await self.server.reach(self)
            if not self.server.commit(self):
                raise UnavailableError("the answer to the commit was lost (simulated)")
            await self.server.reach(self)
        finally:
            self._within = False
            self._incoming = []
            self.server.release(self)

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> "Answer":
        """One of the product's statements."""
        await self.server.reach(self)
        rows = await self._statement(sql, parameters)
        if not self._within:
            self.server.commit(self)
        await self.server.reach(self)
        return Answer(rows)

    def cursor(self) -> "Copy":
        """For COPY only."""
        return Copy(self._incoming)

    async def _statement(self, sql: str, parameters: Sequence[Any]) -> Rows:
        server = self.server
        match sql.split()[:3]:
            case ["insert", "into", "log_progress"]:
                self.changes.append(lambda: server.progress.setdefault((parameters[0], parameters[1]), 0))
            case ["insert", "into", "log_gaps"]:
                self.changes.append(lambda: server.gaps.add(tuple(parameters)))
            case ["insert", "into", "events"]:
                self.changes.append(partial(self._store, list(self._incoming)))
                self._incoming.clear()
            case ["update", "log_progress", "set"]:
                following, *last_ms, epoch, partition = parameters
                key = (epoch, partition)
                self.changes.append(lambda: server.last_ms.__setitem__(key, last_ms[0] if last_ms else None))
                self.changes.append(lambda: server.progress.__setitem__(key, following))
            case ["select", "next_offset", "from"]:
                return await self._progress(sql, (parameters[0], parameters[1]))
            case ["select", "next_offset,", also]:
                key = (parameters[0], parameters[1])
                more = server.last_ms.get(key) if also == "last_ms" else None
                return [(*row, more) for row in await self._progress(sql, key)]
            case ["select", "max(to_offset)", "from"]:
                epoch, partition, after = parameters
                return [
                    (max((g[3] for g in server.gaps if g[:2] == (epoch, partition) and g[3] > after), default=None),)
                ]
            case ["select", "log_offset,", *_]:
                return self._page(parameters)
            case ["create", "temporary", "table"]:
                pass
            case _:
                raise AssertionError(f"the simulation does not know this statement: {sql}")
        return []

    async def _progress(self, sql: str, key: tuple[str, int]) -> Rows:
        if "for update" in sql:
            await self.server.lock(self, key)
        found = self.server.progress.get(key)
        return [] if found is None else [(found,)]

    def _store(self, rows: Rows) -> None:
        for row in rows:
            self.server.events.setdefault(row[0], row)

    def _page(self, parameters: Sequence[Any]) -> Rows:
        match_id, _, after, types, _, kinds, limit = parameters
        found = [
            (row[5], row[6].encode() if row[6] is not None else row[7], row[9])
            for row in self.server.events.values()
            if row[1] == match_id and row[5] > after
            if not types or row[2] in types or {*(row[9] or ())} & {*kinds}
        ]
        return sorted(found, key=lambda row: row[0])[:limit]


class Answer:
    """Rows of a statement."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def fetchone(self) -> tuple[Any, ...] | None:
        """The first row."""
        return self._rows[0] if self._rows else None

    async def fetchall(self) -> Rows:
        """All rows."""
        return self._rows


class Copy:
    """COPY into the temporary table."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def __aenter__(self) -> "Copy":
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def copy(self, _: str) -> "Copy":
        """Begin."""
        return self

    async def write_row(self, row: tuple[Any, ...]) -> None:
        """Add a row."""
        self._rows.append(tuple(row))


class SimPool:
    """Stands in for `storage.Pool`."""

    def __init__(self, server: Postgres, process: Process) -> None:
        self._server, self._process = server, process

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Session]:
        """A connection in autocommit. Raises UnavailableError."""
        session = Session(self._server, self._process)
        self._server.sessions[session] = None
        try:
            yield session
        finally:
            self._server.sessions.pop(session, None)
            self._server.release(session)
