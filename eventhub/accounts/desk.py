"""What operators do with accounts, from the command line and without a running node.

Whether somebody may is written to `account-events` alone, so that an account can be closed while Postgres is down.
"""

from datetime import datetime
from typing import NamedTuple

from eventhub import auth
from eventhub.accounts.service import NAME
from eventhub.accounts.verifier import Verifier
from eventhub.accounts.word import Word
from eventhub.auth.passwords import LEAST, MOST
from eventhub.errors import RejectedError, UnavailableError
from eventhub.storage import AccountStore


class UserShown(NamedTuple):
    """A user as lists show it."""

    name: str
    plan: str
    disabled: bool
    created_at: datetime


class Desk:
    """Accounts as operators work on them. Every call raises UnavailableError when its part is not there."""

    def __init__(self, store: AccountStore, accounts: auth.Accounts, word: Word, verifier: Verifier) -> None:
        self._store, self._accounts, self._word, self._verifier = store, accounts, word, verifier

    async def create(self, user: str, password: str, plan: str) -> None:
        """Make a user. Raises RejectedError for a name or password that cannot be, ConflictError for a taken name."""
        if NAME.fullmatch(user) is None:
            raise RejectedError(
                f"{user[:120]!r} cannot be a user's name; 1 to 100 letters, digits and . _ @ + -, not a mark first"
            )
        await self._store.create(user, await self._verifier.hash(_strong(password)))
        # What a user of this name once was holds no more. A crash before this leaves one with the plan `free`.
        await self._word.give(auth.record_plan(user, plan), auth.record_disabled(user, False))

    async def users(self) -> list[UserShown]:
        """All users by name, as they are now."""
        return [
            UserShown(
                one.name, self._accounts.plan(one.name) or "free", self._accounts.disabled(one.name), one.created_at
            )
            for one in await self._store.users()
        ]

    async def set_plan(self, user: str, plan: str) -> None:
        """Give a user a plan. Raises NotFoundError."""
        await self._known(user)
        await self._word.give(auth.record_plan(user, plan))

    async def disable(self, user: str, now: datetime, *, unknown: bool = False) -> bool:
        """Close an account: every node knows before this returns, and ends its connections.

        False when Postgres could not be asked whether there is such a user; the account is closed all the same.
        Raises NotFoundError when there is none, unless `unknown` says that this does not matter.
        """
        found = True
        try:
            if not unknown:
                await self._known(user)
        except UnavailableError:
            found = False
        await self._word.give(auth.record_disabled(user, True), auth.record_not_before(user, now))
        return found

    async def enable(self, user: str, now: datetime) -> None:
        """Open an account again; every login that it had before is over. Raises NotFoundError."""
        await self._known(user)
        await self._store.end_all(user, now)
        await self._word.give(auth.record_disabled(user, False))

    async def set_password(self, user: str, password: str, now: datetime) -> None:
        """Change a password, and end every login of the user. Raises NotFoundError, RejectedError."""
        hashed = await self._verifier.hash(_strong(password))
        await self._store.check_exists(user)
        await self._store.set_password(user, hashed)
        await self._store.end_all(user, now)
        await self._word.give(auth.record_not_before(user, now))

    async def _known(self, user: str) -> None:
        """Users of issuers outside are not in Postgres. Raises NotFoundError."""
        if "|" not in user:
            await self._store.check_exists(user)


def _strong(password: str) -> str:
    if not LEAST <= len(password) <= MOST:
        raise RejectedError(f"the password has {len(password)} characters; it must have {LEAST} to {MOST}")
    return password
