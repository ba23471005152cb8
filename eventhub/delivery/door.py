"""What every client passes, whatever carries it: its page's origin, its address, its token; the cheapest first."""

from collections.abc import Callable
from typing import NamedTuple

from starlette.requests import HTTPConnection

from eventhub.auth import bearer
from eventhub.delivery.connection import Connection
from eventhub.delivery.origin import Origins
from eventhub.delivery.ports import Check, Principal


class Door(NamedTuple):
    """`address_of` makes of the peer and X-Forwarded-For the address that is counted.

    `knock` raises UnavailableError while the node drains or is full, LimitError for an address that has too many, or
    comes too often; `enter` makes the connection, and raises LimitError for its user.
    """

    origins: Origins
    address_of: Callable[[str | None, str], str]
    knock: Callable[[str], None]
    check: Check
    enter: Callable[[Principal | None, str], Connection]

    def come(self, request: HTTPConnection) -> str:
        """The address of a client that may come in. Raises ForbiddenError and what `knock` raises."""
        self.origins.check(request.headers.get("origin"), request.headers.get("host"))
        peer = request.client.host if request.client is not None else None
        address = self.address_of(peer, ",".join(request.headers.getlist("x-forwarded-for")))
        self.knock(address)
        return address

    def named(self, request: HTTPConnection) -> Principal | None:
        """Whom the request's token names; None without one. Raises UnauthorizedError."""
        authorization = request.headers.get("authorization")
        return None if authorization is None else self.check(bearer(authorization))
