"""The times and paces that the full drills must keep; tests.drills.slow has the nodes that do not."""

from collections.abc import Sequence
from statistics import median

from tests.drills import attack
from tests.drills.herd import Herded
from tests.drills.outage import Outage
from tests.drills.poison import Figures
from tests.drills.suites import Times

TAKEOVER_KILLED_S, TAKEOVER_ENDED_S = 15, 3
SPOOL_PER_S, SPOOL_DRAINED_S = 2_000, 30
POISONED_PACE, STALLED_S = 0.9, 60
ATTACKED_RATIO, ATTACKED_MIB = 1.5, 150
DISTURBED, DISTURBED_MS = 1.5, 250


def takes_over_in_time(times: Times) -> None:
    """No partition stood still for longer than this."""
    for how, found, most_s in (
        ("kill", times.killed_s, TAKEOVER_KILLED_S),
        ("SIGTERM", times.ended_s, TAKEOVER_ENDED_S),
    ):
        assert max(found, default=0) <= most_s, f"stood still for {max(found)} s after {how}, more than {most_s} s"


def keeps_up_in_the_spool(found: Outage, *, per_s: float = SPOOL_PER_S) -> None:
    """The nodes took what was offered while Kafka stood still, and were rid of it soon after."""
    assert found.per_s >= per_s, f"took {found.per_s} events/s into the spool, fewer than {per_s}"
    assert found.drained_s <= SPOOL_DRAINED_S, f"drained after {found.drained_s} s, more than {SPOOL_DRAINED_S} s"


def is_not_held_up(figures: Figures) -> None:
    """No healthy event waited long because others failed."""
    assert figures.waited_s <= STALLED_S, f"an event waited {figures.waited_s} s for others, more than {STALLED_S} s"


def keeps_pace_beside_poison(figures: Figures, runs: Sequence[int]) -> list[float]:
    """Runs with failing events went as fast as the clean ones beside them; returns the ratios.

    `runs` are those of `figures`: the first warms the nodes up, then come pairs of a clean run and one that is not.
    """
    pairs = [(i, i + 1) if runs[i] == 0 else (i + 1, i) for i in range(1, len(runs), 2)]
    ratios = [figures.per_s[ill] / figures.per_s[clean] for clean, ill in pairs]
    assert median(ratios) >= POISONED_PACE, f"with failing events {median(ratios):.2f} of the pace: {sorted(ratios)}"
    return ratios


def is_served_under_attack(figures: attack.Figures) -> None:
    """Whoever watches hardly notices the attack, and the node keeps nothing of it."""
    assert figures.ratio <= ATTACKED_RATIO, f"under attack events come later: {figures.told()}"
    assert figures.grown_mib <= ATTACKED_MIB, f"the attack costs memory: {figures.told()}"


def leaves_the_live_ones_alone(found: Herded) -> None:
    """Those who watched live hardly noticed the herd."""
    calm, herd = (median(times) for times in zip(*[(p.calm_ms, p.herd_ms) for p in found.pairs], strict=True))
    most_ms = max(DISTURBED * calm, DISTURBED_MS)
    assert herd <= most_ms, f"beside a herd p99 is {herd:.0f} ms, calm {calm:.0f}, more than {most_ms:.0f}"
