"""What every client passes, whatever carries it: its page's origin, its address, its token; the cheapest first."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from starlette.requests import HTTPConnection

from eventhub.auth import bearer
from eventhub.delivery.connection import Connection
from eventhub.delivery.origin import Origins
from eventhub.delivery.ports import Check, Principal
from eventhub.errors import ForbiddenError, UnauthorizedError


class Door(NamedTuple):
    """`address_of` makes of the peer and X-Forwarded-For the address that is counted.

    `knock` raises UnavailableError while the node drains or is full, LimitError for an address that has too many, or
    comes too often; `enter` makes the connection, and raises LimitError for its user. `refused` counts by cause.
    """

    origins: Origins
    address_of: Callable[[str | None, str], str]
    knock: Callable[[str], None]
    check: Check
    enter: Callable[[Principal | None, str], Connection]
    refused: Counter[str]

    def come(self, request: HTTPConnection) -> str:
        """The address of a client that may come in. Raises ForbiddenError and what `knock` raises."""
        try:
            self.origins.check(request.headers.get("origin"), request.headers.get("host"))
        except ForbiddenError:
            self.refused["origin"] += 1
            raise
        peer = request.client.host if request.client is not None else None
        address = self.address_of(peer, ",".join(request.headers.getlist("x-forwarded-for")))
        self.knock(address)
        return address

    def named(self, request: HTTPConnection) -> Principal | None:
        """Whom the request's token names; None without one. Raises UnauthorizedError."""
        return self.holder(request) if "authorization" in request.headers else None

    def holder(self, request: HTTPConnection) -> Principal:
        """Whom the request's token names. Raises UnauthorizedError, also without one."""
        try:
            return self.check(bearer(request.headers.get("authorization")))
        except UnauthorizedError:
            self.refused["token"] += 1
            raise
