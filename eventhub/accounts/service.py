"""Logging in, renewing, logging out: what the routes do.

A refresh token is used once and replaced by its successor. One that is used again ends its family, because then two
have it; only within 10 s, and while the successor was not used, the same successor is given again, to a client whose
answer was lost.
"""

import asyncio
import re
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import structlog

from eventhub import auth
from eventhub.accounts.attempts import Attempts
from eventhub.accounts.verifier import Verifier
from eventhub.accounts.word import Word
from eventhub.errors import EventhubError, UnauthorizedError, UnavailableError
from eventhub.storage import AccountStore, Family, Offer

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")
"""A user's name; users of issuers outside have a `|` in theirs."""
RETRY_AFTER_S = 5
SWEEP_S = 30
log = structlog.get_logger(__name__)


class Granted(NamedTuple):
    """What a login or a refresh gives."""

    access_token: str
    expires_at: datetime
    refresh_token: str
    refresh_expires_at: datetime


class Service:
    """The accounts of a node. `unavailable` raises UnavailableError while nothing can be read or written."""

    def __init__(
        self,
        *,
        store: AccountStore,
        tokens: auth.Tokens,
        accounts: auth.Accounts,
        word: Word,
        verifier: Verifier,
        unavailable: Callable[[], None],
        now: Callable[[], datetime],
        of_address: Attempts | None = None,
        of_user: Attempts | None = None,
    ) -> None:
        self._store, self._tokens, self._accounts, self._word = store, tokens, accounts, word
        self._verifier, self._unavailable, self._now = verifier, unavailable, now
        self._of_address = of_address or Attempts("from this address", per_minute=20, burst=40)
        self._of_user = of_user or Attempts("of this user", per_minute=5, burst=10)

    async def login(self, user: str, password: str, address: str) -> Granted:
        """Tokens for a user. Raises UnauthorizedError, LimitError, UnavailableError."""
        self._unavailable()
        loop = asyncio.get_running_loop()
        self._of_address.take(address, loop.time())
        stored = None
        if NAME.fullmatch(user):
            self._of_user.take(user, loop.time())
            stored = await self._store.password_hash(user)
        if not await self._verifier.verify(stored, password) or stored is None:
            if stored is not None:  # else it may be a password that was typed into the wrong field
                log.info("login refused", user=user, address=address)
            raise UnauthorizedError("the user or the password is wrong")
        if self._accounts.disabled(user):
            raise UnauthorizedError("the account is disabled; ask the operators")
        self._of_user.give_back(user)
        await self._renew_hash(user, stored, password)
        family, token, now = Family(auth.new_session(), user), auth.new_refresh_token(), self._now()
        ends_at = now + auth.REFRESH_LIFE
        await self._store.begin(family, auth.digest(token), ends_at)
        log.info("login", user=user, family=family.id, address=address)
        return self._granted(family, token, ends_at, now)

    async def refresh(self, token: str) -> Granted:
        """New tokens for a refresh token, which is used up. Raises UnauthorizedError, UnavailableError.

        One that was used up before ends its family: every node knows before this raises.
        """
        self._unavailable()
        _check_shape(token)
        now, salt = self._now(), auth.new_salt()
        offer = Offer(auth.digest(token), salt, auth.digest(auth.following(token, salt)), now, now + auth.REFRESH_LIFE)
        turn = await self._store.rotate(offer)
        if turn.family is None:
            raise UnauthorizedError("the refresh token is unknown or has ended; log in again")
        if turn.outcome != "rotated":
            await self._tell([turn.family])
            why = "was used before" if turn.outcome == "reused" else "is of a login that is over"
            who, family = turn.family.user, turn.family.id
            hint = "the login is over everywhere; if `reused`, two have had the token: ask the user, it may be stolen"
            log.warning("refresh token refused", user=who, family=family, outcome=turn.outcome, hint=hint)
            raise UnauthorizedError(f"the refresh token {why}; log in again")
        if self._accounts.is_over(turn.family.id) or self._accounts.disabled(turn.family.user):
            raise UnauthorizedError("this login was ended; log in again")
        return self._granted(turn.family, auth.following(token, turn.salt), turn.ends_at or offer.ends_at, now)

    async def logout(self, token: str) -> None:
        """End the family of a refresh token: every node knows before this returns. Raises UnavailableError.

        A token that is none is no error: what it was to end has ended.
        """
        if not auth.may_be_refresh_token(token):
            return
        family = await self._store.end(auth.digest(token), self._now())
        if family is not None:
            await self._tell([family])
            log.info("logout", user=family.user, family=family.id)

    def jwks(self) -> dict[str, object]:
        """The public keys of the platform's tokens."""
        return self._tokens.jwks()

    async def sweep(self) -> None:
        """Every 30 s tell what a crash left untold, and forget what nothing needs any more; for ever."""
        while True:
            try:
                self._unavailable()
                await self._sweep_once()
            except EventhubError as error:
                log.debug("accounts cannot be swept now", error=error.detail)
            await asyncio.sleep(SWEEP_S)

    async def _sweep_once(self) -> None:
        await self._tell(await self._store.untold())
        await self._store.forget_ended(self._now())
        await self._word.give(*((f"family:{family}", None) for family in self._accounts.forgettable(self._now())))

    async def _tell(self, families: list[Family]) -> None:
        """Families that are over in Postgres: tell every node, and only then forget them."""
        await self._word.give(*(auth.record_family(one.id, one.user, self._now()) for one in families))
        try:
            await self._store.forget([one.id for one in families])
        except UnavailableError as error:
            log.warning(
                "a login that is over stays in PostgreSQL for now", error=error.detail, hint="it is swept later"
            )

    async def _renew_hash(self, user: str, stored: str, password: str) -> None:
        fresh = await self._verifier.rehashed(stored, password)
        if fresh is not None:
            await self._store.set_password(user, fresh, instead_of=stored)

    def _granted(self, family: Family, token: str, ends_at: datetime, now: datetime) -> Granted:
        plan = self._accounts.plan(family.user) or "free"
        access = self._tokens.sign(family.user, plan, now, session=family.id)
        return Granted(access, now + auth.TOKEN_LIFE, token, ends_at)


def _check_shape(token: str) -> None:
    if not auth.may_be_refresh_token(token):
        raise UnauthorizedError("this is no refresh token; log in again")
