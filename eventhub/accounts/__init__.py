"""Accounts, beside the path: users log in, renew their access tokens, and log out; operators make and close accounts.

Postgres has passwords and refresh tokens. Plans and revocations go to `account-events`, which every node folds: what
this package writes there is all that the check of a token needs to know.
"""

from eventhub.accounts.attempts import Attempts
from eventhub.accounts.desk import Desk, UserShown
from eventhub.accounts.routes import routes
from eventhub.accounts.service import Granted, Service
from eventhub.accounts.verifier import Verifier
from eventhub.accounts.word import Word

__all__ = ["Attempts", "Desk", "Granted", "Service", "UserShown", "Verifier", "Word", "routes"]
