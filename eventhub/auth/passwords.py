"""Passwords, hashed with Argon2id (RFC 9106). A call takes tens of milliseconds and 46 MiB: never on the event loop."""

import secrets

import argon2

TIME_COST, MEMORY_KIB, LANES = 1, 47_104, 1
"""The first choice of OWASP's cheat sheet; one lane, so that a login takes one core."""
LEAST, MOST = 10, 1000
"""Characters of a password."""


class Passwords:
    """Hashes and verifies. Making one costs a hash: that of nobody's password."""

    def __init__(self) -> None:
        self._hasher = argon2.PasswordHasher(TIME_COST, MEMORY_KIB, LANES)
        self._nobody = self.hash(secrets.token_urlsafe(24))

    def hash(self, password: str) -> str:
        """The hash with its salt and parameters, as a text to be stored."""
        return self._hasher.hash(password)

    def verify(self, stored: str | None, password: str) -> bool:
        """Whether it is the password; takes as long for a user that is not there (None)."""
        try:
            right = self._hasher.verify(stored or self._nobody, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
        return right and stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Whether it was made with other parameters than those of now."""
        return self._hasher.check_needs_rehash(stored)
