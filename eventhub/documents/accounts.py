"""The operations of `/v1/auth`."""

from eventhub.accounts.routes import Login, Refresh
from eventhub.documents import shapes
from eventhub.documents.operation import Answer, Operation
from eventhub.web import JSON

_REFUSALS = (400, 401, 408, 413, 429, 503)
_DOWN = " While PostgreSQL is down or the platform is read-only it answers 503; access tokens are honoured meanwhile."

ACCOUNTS: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/v1/auth/login",
        "login",
        "Log in",
        "Operators make users: `eventhub users create`. Attempts are limited by address and by user; good ones do not"
        " count for the user." + _DOWN,
        None,
        (),
        {JSON: Login},
        (Answer(200, "Tokens.", shapes.Granted, ("Cache-Control",)),),
        _REFUSALS,
    ),
    Operation(
        "POST",
        "/v1/auth/refresh",
        "refresh",
        "Get new tokens",
        "Uses the refresh token up: the answer has the next one. A token that was used before ends the whole login,"
        " because two then have it; only within 10 s, while the next one was not used either, the same answer is given"
        " again." + _DOWN,
        None,
        (),
        {JSON: Refresh},
        (Answer(200, "Tokens.", shapes.Granted, ("Cache-Control",)),),
        _REFUSALS,
    ),
    Operation(
        "POST",
        "/v1/auth/logout",
        "logout",
        "Log out",
        "Ends the login: its refresh tokens and its access tokens, and its connections on every node within a second."
        " A token that is unknown is no error.",
        None,
        (),
        {JSON: Refresh},
        (Answer(204, "Nothing of this login holds any more.", None),),
        (400, 408, 413, 429, 503),
    ),
    Operation(
        "GET",
        "/v1/auth/jwks.json",
        "getKeys",
        "Public keys of the platform's access tokens",
        "A JWK set (RFC 7517) for services that check the tokens too; the key that signs now comes first.",
        None,
        (),
        {},
        (Answer(200, "The keys.", shapes.PublicKeys, ("Cache-Control",)),),
        (),
    ),
)
