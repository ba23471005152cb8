"""The one check of an access token: of ours or of an issuer outside, not ended, not revoked. It asks no server."""

from collections.abc import Callable
from datetime import UTC, datetime

from eventhub.auth.accounts import GRACE, Accounts
from eventhub.auth.issuers import Issuers
from eventhub.auth.principal import Principal, peek
from eventhub.auth.tokens import ISSUER, LEEWAY, Tokens
from eventhub.errors import UnauthorizedError


def _now() -> datetime:
    return datetime.now(UTC)


class Access:
    """Who may read. `refresh_is_impossible` says whether a new token can be had now."""

    def __init__(
        self,
        tokens: Tokens,
        accounts: Accounts,
        issuers: Issuers | None = None,
        *,
        refresh_is_impossible: Callable[[], bool] = lambda: False,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._tokens, self._accounts, self._issuers = tokens, accounts, issuers or Issuers()
        self._refresh_is_impossible, self._now = refresh_is_impossible, now

    def check(self, token: str) -> Principal:
        """Whom the token names, with the plan that the user has now. Raises UnauthorizedError; never waits.

        One of ours that has ended is honoured for 24 h more while no new one can be had, unless it was revoked.
        """
        peeked = peek(token)
        if peeked.issuer == ISSUER:
            principal = self._tokens.read(token, peeked.kid)
        else:
            principal = self._issuers.read(token, peeked, self._now())
        late = self._now() - principal.expires_at
        honoured = GRACE if principal.ours and self._refresh_is_impossible() else LEEWAY
        if late > honoured:
            raise UnauthorizedError("the token has ended; get a new one")
        return self.still(principal)

    def still(self, principal: Principal) -> Principal:
        """The principal with the plan that the user has now. Raises UnauthorizedError when it was revoked since."""
        self._accounts.still(principal)
        plan = self._accounts.plan(principal.user)
        return principal if plan is None else principal._replace(plan=plan)
