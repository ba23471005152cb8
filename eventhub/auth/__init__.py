"""Who may: ingest keys, access tokens, passwords. No check asks Postgres or any other server.

The one door to jwt, cryptography and argon2. What a check needs of keys, plans and revocations comes on
`account-events`, folded by every node; public keys of issuers outside are fetched in the background.
"""

from eventhub.auth.access import Access
from eventhub.auth.accounts import (
    GRACE,
    REFRESH_LIFE,
    Accounts,
    record_disabled,
    record_family,
    record_not_before,
    record_plan,
)
from eventhub.auth.issuers import Issuers
from eventhub.auth.keys import KEY_PREFIX, SOURCES, Key, Keys, bearer, new_key, record_key
from eventhub.auth.passwords import Passwords
from eventhub.auth.principal import Principal
from eventhub.auth.refresh import digest, following, may_be_refresh_token, new_refresh_token, new_salt
from eventhub.auth.tokens import ISSUER, TOKEN_LIFE, Tokens, load_tokens, new_session

__all__ = [
    "GRACE",
    "ISSUER",
    "KEY_PREFIX",
    "REFRESH_LIFE",
    "SOURCES",
    "TOKEN_LIFE",
    "Access",
    "Accounts",
    "Issuers",
    "Key",
    "Keys",
    "Passwords",
    "Principal",
    "Tokens",
    "bearer",
    "digest",
    "following",
    "load_tokens",
    "may_be_refresh_token",
    "new_key",
    "new_refresh_token",
    "new_salt",
    "new_session",
    "record_disabled",
    "record_family",
    "record_key",
    "record_not_before",
    "record_plan",
]
