"""The geometry of the generated match: metres, origin at the centre, the home side attacks +x. Pure.

A side's own view is `depth` (0 at its own goal line, 105 at the other) and `forward` (1 for home, -1 for away).
"""

import math

Spot = tuple[float, float]

HALF_LENGTH, HALF_WIDTH, POST = 52.5, 34.0, 3.66
CENTRE: Spot = (0.0, 0.0)
PENALTY_DEPTH = 94.0
BOX_DEPTH, BOX_WIDTH = 88.5, 20.16


def spot(x: float, y: float, margin: float = 0.0) -> Spot:
    """The place in decimetres, at least `margin` metres inside the lines."""
    long, wide = HALF_LENGTH - margin, HALF_WIDTH - margin
    # Adding zero turns -0.0 into 0.0: both are the same place.
    return round(max(-long, min(long, x)), 1) + 0.0, round(max(-wide, min(wide, y)), 1) + 0.0


def at(forward: int, depth: float, y: float, margin: float = 0.0) -> Spot:
    """The place of a depth in a side's view."""
    return spot(forward * (depth - HALF_LENGTH), y, margin)


def depth_of(forward: int, place: Spot) -> float:
    """How far a side has come: metres from its own goal line."""
    return forward * place[0] + HALF_LENGTH


def apart(one: Spot, other: Spot) -> float:
    """Metres between two places."""
    return math.hypot(one[0] - other[0], one[1] - other[1])


def to_goal(forward: int, place: Spot) -> float:
    """Metres to the middle of the goal that a side attacks."""
    return apart(place, (forward * HALF_LENGTH, 0.0))


def in_box(forward: int, place: Spot) -> bool:
    """Whether a place lies in the penalty area that a side attacks."""
    return depth_of(forward, place) >= BOX_DEPTH and abs(place[1]) <= BOX_WIDTH


def between(one: Spot, other: Spot, share: float) -> Spot:
    """The place at a share of the way, 0 to 1."""
    return spot(one[0] + (other[0] - one[0]) * share, one[1] + (other[1] - one[1]) * share)
