"""The platforms of the system tests, for drills."""

from tests.system.conftest import brokers, matches, on_three, platform

__all__ = ["brokers", "matches", "on_three", "platform"]
