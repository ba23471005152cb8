"""What `eventhub doctor` asks of PostgreSQL: whether it answers, its version, its connections, its schema."""

from typing import NamedTuple

import psycopg

from eventhub.errors import UnavailableError
from eventhub.storage.migrations import files

CONNECT_TIMEOUT_S = 3


class Survey(NamedTuple):
    """A server as it is now; migrations by their numbers."""

    version: int
    """As the server numbers itself: 180001 is 18.1."""
    connections: int
    """Connections that it gives to who is no superuser."""
    pending: list[str]
    """Migrations of this version that were not applied yet."""
    unknown: list[str]
    """Migrations that this version does not know: a newer one applied them."""


async def survey(dsn: str) -> Survey:
    """Ask the server; nothing is written. Raises UnavailableError when it does not answer within 3 s."""
    try:
        async with await psycopg.AsyncConnection.connect(
            dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, options="-c statement_timeout=3000"
        ) as connection:
            row = await (
                await connection.execute(
                    "select current_setting('server_version_num')::int,"
                    " current_setting('max_connections')::int"
                    " - current_setting('superuser_reserved_connections')::int,"
                    " to_regclass('schema_migrations') is not null"
                )
            ).fetchone()
            assert row is not None
            rows = []
            if row[2]:
                rows = await (await connection.execute("select number, name from schema_migrations")).fetchall()
    except psycopg.Error as error:
        raise UnavailableError(
            f"PostgreSQL does not answer ({type(error).__name__}): is it up, and the DSN right?"
        ) from error
    known = {number: name for number, name, _ in files()}
    applied: dict[int, str] = dict(rows)
    return Survey(
        row[0],
        row[1],
        [name for number, name in known.items() if number not in applied],
        [name for number, name in sorted(applied.items()) if number not in known],
    )
