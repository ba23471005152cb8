"""How long to wait before another attempt: full jitter, so that those who failed together do not return together."""

import random


def full_jitter(attempt: int, backoff_s: tuple[float, float]) -> float:
    """Seconds before attempt `attempt` (from 0): anything up to the first value doubled so often, up to the second."""
    first_s, most_s = backoff_s
    # The exponent is bounded too: a client that has failed for a year must not overflow.
    return random.uniform(0.0, min(most_s, first_s * 2.0 ** min(attempt, 30)))  # noqa: S311 - no secret


def at_least(asked_s: float) -> float:
    """A little more than what the other side asked for: it asked everybody for the same."""
    return asked_s * random.uniform(1.0, 1.25)  # noqa: S311 - no secret
