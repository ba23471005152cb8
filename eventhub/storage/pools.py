"""Named pools: each module has its own, with explicit sizes and timeouts, so that one cannot starve another."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
import psycopg_pool

from eventhub.errors import UnavailableError

CONNECT_TIMEOUT_S = 3
ACQUIRE_TIMEOUT_S = 3

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class Pool:
    """Connections of one purpose. Opening never waits for the server: a node starts while Postgres is down.

    While `read_only` says so, every session that is handed out refuses writes, whatever its user asks.
    """

    def __init__(
        self,
        dsn: str,
        name: str,
        *,
        size: int,
        statement_timeout_s: float,
        read_only: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name = name
        self._read_only = read_only
        self._told: WeakKeyDictionary[Connection, bool] = WeakKeyDictionary()
        options = (
            f"-c statement_timeout={int(statement_timeout_s * 1000)} -c lock_timeout=5000"
            f" -c idle_in_transaction_session_timeout=30000 -c application_name=eventhub-{name}"
        )
        self._pool = psycopg_pool.AsyncConnectionPool(
            dsn,
            min_size=1,
            max_size=size,
            timeout=ACQUIRE_TIMEOUT_S,
            reconnect_timeout=5,
            open=False,
            check=psycopg_pool.AsyncConnectionPool.check_connection,
            kwargs={
                "autocommit": True,
                "connect_timeout": CONNECT_TIMEOUT_S,
                "options": options,
                "keepalives_idle": 5,
                "keepalives_interval": 2,
                "keepalives_count": 3,
            },
            name=f"eventhub-{name}",
        )

    async def open(self) -> None:
        """Begin to connect in the background."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection, at most 3 s."""
        with suppress(Exception):
            await self._pool.close(timeout=3)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection in autocommit. Raises UnavailableError when none answers within 3 s, or when it breaks."""
        try:
            async with self._pool.connection() as connection:
                await self._tell(connection)
                yield connection
        except psycopg_pool.PoolTimeout as error:
            raise UnavailableError(
                f"PostgreSQL gave no connection to pool {self.name} within {ACQUIRE_TIMEOUT_S} s", retry_after_s=2
            ) from error
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise UnavailableError(
                f"PostgreSQL broke off in pool {self.name}: {type(error).__name__}", retry_after_s=2
            ) from error

    async def _tell(self, connection: Connection) -> None:
        """Bring the session to the platform's mode; costs a round trip only after a change."""
        wanted = self._read_only()
        if self._told.get(connection, False) != wanted:
            await connection.execute(f"set default_transaction_read_only = {'on' if wanted else 'off'}".encode())
            self._told[connection] = wanted
