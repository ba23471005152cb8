"""How often things happen: each side has its number of shots, fouls and corners in 90 minutes, and play leans to it.

Left to chance alone, a match in twenty would have three shots or thirty fouls; the viewer of one would not believe it.
"""

import random

REGULAR_S = 5600.0
RANGES = {"shot": (10, 17), "foul": (9, 14), "corner": (4, 7)}


class Pace:
    """The numbers of this seed, and how far each side is."""

    def __init__(self, rng: random.Random) -> None:
        self._aim = {(kind, side): rng.randint(*span) for kind, span in RANGES.items() for side in (0, 1)}
        self._done = dict.fromkeys(self._aim, 0)

    def count(self, kind: str, side: int) -> None:
        """It happened."""
        self._done[kind, side] += 1

    def urge(self, kind: str, side: int, played_s: float) -> float:
        """A factor for its chance: 1 on course, 0 when two ahead, at most 3 when behind."""
        expected = self._aim[kind, side] * played_s / REGULAR_S
        return max(0.0, min(3.0, 1 + (expected - self._done[kind, side]) / 2))
