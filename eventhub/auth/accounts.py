"""What `account-events` says of users: plans, and what was revoked. Folded by every node, so no check asks a server.

Each kind of record is replaced as a whole by whoever writes it, so no writer undoes what another one wrote:
`plan:USER` the plan, `disabled:USER` that the account is closed, `not_before:USER` that everything issued earlier is
void, `family:ID` that one login is over. A deleted record takes its word back.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from eventhub.auth.principal import Principal
from eventhub.errors import UnauthorizedError

T = TypeVar("T")
GRACE = timedelta(hours=24)
"""How long past its end a token of ours is honoured while no new one can be had."""
REFRESH_LIFE = timedelta(days=7)
REVOKED_FOR = REFRESH_LIFE + GRACE + timedelta(hours=1)
"""How long a login that is over must be remembered: until nothing that it was given could be honoured."""


class Revoked(msgspec.Struct, frozen=True):
    """A family of tokens that is over: whose it was, and when that may be forgotten."""

    user: str
    until: datetime


def record_plan(user: str, plan: str) -> tuple[str, bytes]:
    """Key and value of the record that gives a user a plan."""
    return f"plan:{user}", msgspec.json.encode(plan)


def record_disabled(user: str, disabled: bool) -> tuple[str, bytes | None]:
    """Key and value of the record that closes an account, or opens it again."""
    return f"disabled:{user}", b"true" if disabled else None


def record_not_before(user: str, now: datetime) -> tuple[str, bytes]:
    """Key and value of the record that voids everything that was issued to a user before `now`."""
    # To the millisecond, as tokens have it: what is issued right after it is not void.
    return f"not_before:{user}", msgspec.json.encode(now.replace(microsecond=now.microsecond // 1000 * 1000))


def record_family(family: str, user: str, now: datetime) -> tuple[str, bytes]:
    """Key and value of the record that ends one login."""
    return f"family:{family}", msgspec.json.encode(Revoked(user, now + REVOKED_FOR))


class Accounts:
    """The accounts of the platform, folded. `changed` gets the name of each user of whom something changed."""

    def __init__(self, changed: Callable[[str], None] = lambda _: None) -> None:
        self._changed = changed
        self._plans: dict[str, str] = {}
        self._disabled: dict[str, bool] = {}
        self._not_before: dict[str, datetime] = {}
        self._families: dict[str, Revoked] = {}

    def fold(self, name: str, value: bytes | None) -> None:
        """Take one record of the topic; those of other kinds are left alone."""
        kind, _, of = name.partition(":")
        changed = ""
        if kind == "plan":
            changed = _put(self._plans, of, value, str)
        elif kind == "disabled":
            changed = _put(self._disabled, of, value, bool)
        elif kind == "not_before":
            changed = _put(self._not_before, of, value, datetime)
        elif kind == "family":
            before = self._families.get(of)
            if _put(self._families, of, value, Revoked) and value is not None and before is None:
                changed = self._families[of].user
        if changed:
            self._changed(changed)

    def plan(self, user: str) -> str | None:
        """The plan of a user; None for one of whom nothing is known."""
        return self._plans.get(user)

    def disabled(self, user: str) -> bool:
        """Whether the account is closed."""
        return self._disabled.get(user, False)

    def is_over(self, family: str) -> bool:
        """Whether this login was ended."""
        return family in self._families

    def forgettable(self, now: datetime) -> list[str]:
        """Families of whose end nothing needs to know any more."""
        return [family for family, revoked in self._families.items() if revoked.until < now]

    def still(self, principal: Principal) -> None:
        """Raises UnauthorizedError when what the principal came with was revoked."""
        if self.disabled(principal.user):
            raise UnauthorizedError("the account is disabled; ask the operators")
        if principal.session and principal.session in self._families:
            raise UnauthorizedError("this login was ended; log in again")
        earliest = self._not_before.get(principal.user)
        if earliest is not None and (principal.issued_at is None or principal.issued_at < earliest):
            raise UnauthorizedError("everything issued to this user before was revoked; log in again")


def _put(table: dict[str, T], of: str, value: bytes | None, kind: type[T]) -> str:
    """Replace or delete; returns the key when that changed something."""
    before = table.pop(of, None)
    if value is not None:
        table[of] = msgspec.json.decode(value, type=kind)
    return of if table.get(of) != before else ""
