"""The platform of the system tests, for the page in a real browser."""

from tests.system.conftest import matches, platform

__all__ = ["matches", "platform"]
