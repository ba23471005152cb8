"""Users and refresh tokens in Postgres: hashes only, and the rotation, whose rules hold under the family's lock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import psycopg.errors

from eventhub.errors import ConflictError, NotFoundError, UnavailableError
from eventhub.storage.pools import Connection, Pool

AGAIN = timedelta(seconds=10)
"""For so long the answer to a refresh is given again, to a client that lost it."""


class User(NamedTuple):
    """A user as operators made it."""

    name: str
    created_at: datetime


class Family(NamedTuple):
    """A login: its id, and whose it is."""

    id: str
    user: str


class Turn(NamedTuple):
    """What became of a refresh token.

    `rotated`: its successor, made with `salt`, holds from now on, or did already. `reused`: it was used before, and its
    family is over from now on. `over`: its family was ended before. `unknown`: it is none, or it has ended.
    """

    outcome: Literal["rotated", "reused", "over", "unknown"]
    family: Family | None = None
    salt: bytes = b""
    ends_at: datetime | None = None
    """Of the successor."""


class Offer(NamedTuple):
    """A refresh token that is handed in, by its hash, and what would follow it."""

    sha256: bytes
    salt: bytes
    successor: bytes
    now: datetime
    ends_at: datetime


class AccountStore:
    """Every call raises UnavailableError when Postgres does not answer, or takes no writes."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        async with self._pool.connection() as connection:
            try:
                yield connection
            except psycopg.errors.ReadOnlySqlTransaction as error:
                raise UnavailableError("PostgreSQL takes no writes now; try again later", retry_after_s=5) from error
            except psycopg.errors.UndefinedTable as error:
                raise UnavailableError("the schema is not there yet: `eventhub migrate`", retry_after_s=5) from error

    async def password_hash(self, user: str) -> str | None:
        """The hash of the user's password; None for one that is not there."""
        async with self._connection() as connection:
            found = await connection.execute("select password_hash from users where name = %s", (user,))
            row = await found.fetchone()
            return None if row is None else str(row[0])

    async def set_password(self, user: str, password_hash: str, *, instead_of: str | None = None) -> bool:
        """Replace the hash, where `instead_of` is given only that one; whether it did."""
        async with self._connection() as connection:
            done = await connection.execute(
                "update users set password_hash = %s where name = %s and password_hash = coalesce(%s, password_hash)",
                (password_hash, user, instead_of),
            )
            return done.rowcount == 1

    async def create(self, user: str, password_hash: str) -> None:
        """Make a user. Raises ConflictError when the name is taken."""
        async with self._connection() as connection:
            made = await connection.execute(
                "insert into users (name, password_hash) values (%s, %s) on conflict do nothing",
                (user, password_hash),
            )
            if made.rowcount == 0:
                raise ConflictError(f"there is a user {user!r} already; `eventhub users password` changes its password")

    async def users(self) -> list[User]:
        """All users by name."""
        async with self._connection() as connection:
            found = await connection.execute("select name, created_at from users order by name")
            return [User(*row) for row in await found.fetchall()]

    async def check_exists(self, user: str) -> None:
        """Raises NotFoundError."""
        if await self.password_hash(user) is None:
            raise NotFoundError(f"there is no user {user!r}; see `eventhub users list`")

    async def begin(self, family: Family, sha256: bytes, ends_at: datetime) -> None:
        """A login: a family with its first token."""
        async with self._connection() as connection, connection.transaction():
            await connection.execute(
                "insert into refresh_families (id, user_name, ends_at) values (%s, %s, %s)",
                (family.id, family.user, ends_at),
            )
            await connection.execute(
                "insert into refresh_tokens (sha256, family, ends_at) values (%s, %s, %s)",
                (sha256, family.id, ends_at),
            )

    async def rotate(self, offer: Offer) -> Turn:
        """Replace a token by its successor, or tell why not; see Turn."""
        async with self._connection() as connection, connection.transaction():
            found = await connection.execute(
                "select f.id, f.user_name, f.revoked_at from refresh_families f"
                " join refresh_tokens t on t.family = f.id where t.sha256 = %s for update of f",
                (offer.sha256,),
            )
            row = await found.fetchone()
            if row is None:
                return Turn("unknown")
            family = Family(row[0], row[1])
            return Turn("over", family) if row[2] is not None else await _turn(connection, family, offer)

    async def end(self, sha256: bytes, now: datetime) -> Family | None:
        """End the family of a token, used or not; None where there is none."""
        async with self._connection() as connection:
            try:
                found = await connection.execute(
                    "update refresh_families set revoked_at = coalesce(revoked_at, %s)"
                    " where id = (select family from refresh_tokens where sha256 = %s) returning id, user_name",
                    (now, sha256),
                )
            except psycopg.errors.ReadOnlySqlTransaction:
                # The word on account-events is what counts; without the row's mark nothing sweeps it, but age does.
                found = await connection.execute(
                    "select f.id, f.user_name from refresh_families f join refresh_tokens t on t.family = f.id"
                    " where t.sha256 = %s",
                    (sha256,),
                )
            row = await found.fetchone()
            return None if row is None else Family(*row)

    async def end_all(self, user: str, now: datetime) -> None:
        """End every family of a user."""
        async with self._connection() as connection:
            await connection.execute(
                "update refresh_families set revoked_at = %s where user_name = %s and revoked_at is null",
                (now, user),
            )

    async def untold(self) -> list[Family]:
        """Families that are over and still there: `account-events` may not have been told."""
        async with self._connection() as connection:
            found = await connection.execute(
                "select id, user_name from refresh_families where revoked_at is not null limit 1000"
            )
            return [Family(*row) for row in await found.fetchall()]

    async def forget(self, families: list[str]) -> None:
        """Delete families of which `account-events` was told."""
        async with self._connection() as connection:
            await connection.execute("delete from refresh_families where id = any(%s)", (families,))

    async def forget_ended(self, now: datetime) -> None:
        """Delete what has ended by itself: families without a token that holds, and tokens of those that go on."""
        async with self._connection() as connection:
            await connection.execute("delete from refresh_families where revoked_at is null and ends_at < %s", (now,))
            await connection.execute("delete from refresh_tokens where ends_at < %s", (now,))


async def _turn(connection: Connection, family: Family, offer: Offer) -> Turn:
    """The rules of rotation; the family is locked."""
    found = await connection.execute(
        "select t.ends_at, t.used_at, t.salt, s.used_at, s.ends_at"
        " from refresh_tokens t left join refresh_tokens s on s.sha256 = t.successor where t.sha256 = %s",
        (offer.sha256,),
    )
    row = await found.fetchone()
    if row is None or row[0] < offer.now:
        return Turn("unknown")
    _, used_at, salt, successor_used_at, successor_ends_at = row
    if used_at is None:
        await connection.execute(
            "insert into refresh_tokens (sha256, family, ends_at) values (%s, %s, %s)",
            (offer.successor, family.id, offer.ends_at),
        )
        await connection.execute(
            "update refresh_tokens set used_at = %s, salt = %s, successor = %s where sha256 = %s",
            (offer.now, offer.salt, offer.successor, offer.sha256),
        )
        await connection.execute("update refresh_families set ends_at = %s where id = %s", (offer.ends_at, family.id))
        return Turn("rotated", family, offer.salt, offer.ends_at)
    if successor_ends_at and successor_used_at is None and offer.now - used_at <= AGAIN:
        return Turn("rotated", family, bytes(salt), successor_ends_at)
    await connection.execute("update refresh_families set revoked_at = %s where id = %s", (offer.now, family.id))
    return Turn("reused", family)
