"""Whether PostgreSQL answers, asked on a connection of its own, so that no busy pool looks like a lost server."""

import asyncio
from contextlib import suppress
from typing import Any

import psycopg

TIMEOUT_S = 0.8
LATE_S = 0.1


class Probe:
    """Asks `select 1`; connects anew after every failure."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def ask(self) -> str | None:
        """None when it answered, else why not, within 0.8 s. Never raises."""
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            refusal = await self._ask()
            # Where this node's own loop was late, the server may have answered in time.
            if refusal is None or loop.time() - started < TIMEOUT_S + LATE_S:
                return refusal

    async def _ask(self) -> str | None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if self._connection is None:
                    self._connection = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
                await self._connection.execute("select 1")
        except TimeoutError:
            await self.close()
            return f"no answer within {TIMEOUT_S} s"
        except psycopg.Error as error:
            await self.close()
            return type(error).__name__
        return None

    async def close(self) -> None:
        """Disconnect without a word to the server, which may not take it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.pgconn.finish()
