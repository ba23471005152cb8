"""Who may, put together for a node: what is folded, the check of tokens, and the service behind `/v1/auth`."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

from starlette.routing import BaseRoute

from eventhub import accounts, auth, kafka, mode, operations, storage, topics
from eventhub.config import Settings
from eventhub.errors import UnavailableError

RETRY_AFTER_S = 5


class People(NamedTuple):
    """The parts: `folded` takes `account-events`, `access` checks tokens, `issuers` and `service` have tasks to run."""

    folded: auth.Accounts
    access: auth.Access
    issuers: auth.Issuers
    service: accounts.Service
    pool: storage.Pool
    verifier: accounts.Verifier

    def routes(self, address_of: Callable[[str | None, str], str]) -> list[BaseRoute]:
        """`/v1/auth/…`; `address_of` makes of the peer and X-Forwarded-For the address that is counted."""
        return accounts.routes(self.service, address_of)

    async def open(self) -> None:
        """Begin to connect; Postgres is not waited for."""
        await self.pool.open()

    async def close(self) -> None:
        """Disconnect and end the threads."""
        async with contextlib.AsyncExitStack() as closing:
            closing.push_async_callback(self.pool.close)
            closing.push_async_callback(self.verifier.close)


def people(
    settings: Settings,
    dsn: str,
    writer: kafka.Writer,
    now_mode: mode.Mode,
    *,
    copies: Path,
    postgres_is_lost: Callable[[], bool],
    changed: Callable[[str], None],
) -> People:
    """All of it; nothing is opened yet. Raises ConfigError for keys that are none.

    `copies` is the folder of what is kept for a restart; `changed` gets the name of each user whose account changed.
    """

    def unavailable() -> None:
        now_mode.check()
        if postgres_is_lost():
            raise UnavailableError(
                "PostgreSQL does not answer, so nobody can log in now; access tokens are honoured meanwhile",
                retry_after_s=RETRY_AFTER_S,
            )

    folded = auth.Accounts(changed)
    tokens = operations.tokens(settings)
    issuers = auth.Issuers(settings.auth.issuers, copies)
    access = auth.Access(
        tokens, folded, issuers, refresh_is_impossible=lambda: now_mode.read_only or postgres_is_lost()
    )
    pool = storage.Pool(dsn, "accounts", size=2, statement_timeout_s=5, read_only=lambda: now_mode.read_only)
    verifier = accounts.Verifier()
    service = accounts.Service(
        store=storage.AccountStore(pool),
        tokens=tokens,
        accounts=folded,
        word=accounts.Word(writer, folded),
        verifier=verifier,
        unavailable=unavailable,
        now=operations.now,
    )
    return People(folded, access, issuers, service, pool, verifier)


@contextlib.asynccontextmanager
async def desk(reached: operations.Reached) -> AsyncIterator[accounts.Desk]:
    """What operators work with, on accounts as `account-events` has them now. Raises UnavailableError.

    In read-only mode nothing is written to Postgres; accounts can be closed all the same.
    """
    folded = auth.Accounts()
    table = kafka.Table(reached.kafka, topics.ACCOUNTS, 1, folded.fold)
    writer = kafka.Writer(reached.kafka)
    verifier = accounts.Verifier()
    # Only what a command asks for is connected to: an account can be closed while Postgres is down.
    current = mode.read(await kafka.read_control(reached.kafka, mode.KEY)).at(operations.now())
    pool = storage.Pool(
        reached.postgres,
        "operators",
        size=1,
        statement_timeout_s=5,
        read_only=lambda: current.mode == "read_only",
    )
    try:
        await table.open()
        await pool.open()
        yield accounts.Desk(storage.AccountStore(pool), folded, accounts.Word(writer, folded), verifier)
    finally:
        for part in (table, writer, pool, verifier):
            await part.close()
