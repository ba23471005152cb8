"""Which web pages may open the stream: a browser names the page's origin, and a page cannot change that (RFC 6454).

Tokens are never ambient here, there are no cookies; this is the second fence, in front of the first frame.
"""

from collections.abc import Iterable

from eventhub.errors import ForbiddenError

SCHEMES = ("http://", "https://")


class Origins:
    """The node's own origin, and those of the settings, compared as a whole."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = frozenset(one.lower() for one in allowed)

    def check(self, origin: str | None, host: str | None) -> None:
        """Without an origin it is no web page. Raises ForbiddenError for a page that is from elsewhere."""
        if origin is None:
            return
        given = origin.lower()
        own = [scheme + (host or "").lower() for scheme in SCHEMES] if host else []
        if given not in own and given not in self._allowed:
            raise ForbiddenError(
                f"pages of {origin[:80]!r} may not open the stream; operators allow them by http.allowed_origins"
            )
