"""Numbered SQL files under one lock. A node refuses a schema that it does not know."""

import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

import psycopg

from eventhub.errors import ConfigError, UnavailableError

LOCK = 7_310_447_213
"""The advisory lock of migrations; any fixed number of this product's own."""


def files() -> list[tuple[int, str, str]]:
    """(number, name, SQL) of every migration, ascending; from the wheel, or from sql/ in a checkout."""
    packed = resources.files("eventhub") / "_sql" / "migrations"
    folder = Path(str(packed)) if packed.is_dir() else Path(__file__).parents[2] / "sql" / "migrations"
    found = sorted(folder.glob("[0-9]*.sql"))
    return [(int(f.name.split("_")[0]), f.stem, f.read_text()) for f in found]


async def migrate(dsn: str) -> list[str]:
    """Bring the schema to this version; returns the names of the migrations that were applied now.

    Safe to run on several nodes at once. Raises ConfigError when the schema is newer than this version, or when an
    applied file was changed; UnavailableError when the server does not answer.
    """
    try:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True, connect_timeout=3) as connection:
            await connection.execute("set lock_timeout = '30s'")
            await connection.execute("select pg_advisory_lock(%s)", (LOCK,))
            return await _apply(connection)
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise UnavailableError(f"PostgreSQL cannot be migrated now: {type(error).__name__}: is it up?") from error


async def _apply(connection: psycopg.AsyncConnection[Any]) -> list[str]:
    await connection.execute(
        "create table if not exists schema_migrations"
        " (number int primary key, name text not null, digest text not null, applied_at timestamptz default now())"
    )
    rows = await (await connection.execute("select number, name, digest from schema_migrations")).fetchall()
    done = {number: (name, digest) for number, name, digest in rows}
    known = files()
    unknown = sorted(set(done) - {number for number, _, _ in known})
    if unknown:
        raise ConfigError(f"the schema has migration {unknown[-1]} ({done[unknown[-1]][0]}): run a newer eventhub")
    applied = []
    for number, name, sql in known:
        digest = hashlib.sha256(sql.encode()).hexdigest()
        if number in done:
            if done[number][1] != digest:
                raise ConfigError(f"migration {name} was changed after it was applied: restore the file")
            continue
        async with connection.transaction():
            await connection.execute(sql.encode())
            await connection.execute(
                "insert into schema_migrations (number, name, digest) values (%s, %s, %s)", (number, name, digest)
            )
        applied.append(name)
    return applied
