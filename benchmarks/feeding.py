"""What a source does for a benchmark: declares matches, and lays out the bodies that it will post."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from benchmarks import load
from benchmarks.platform import Platform
from tests.support.feed import RealMatch, Source

AT_ONCE = 16


async def declare(node: Platform, names: Sequence[tuple[str, RealMatch]]) -> None:
    """Declare each match under its id, some at a time."""
    source = Source([node.node.url], node.broadcast_key, node.admin_key)
    try:
        for start in range(0, len(names), AT_ONCE):
            await asyncio.gather(*(source.declare(i, m) for i, m in names[start : start + AT_ONCE]))
    finally:
        await source.close()


def bodies(match_id: str, match: RealMatch, size: int) -> list[load.Body]:
    """The whole match in NDJSON of `size` records."""
    path = f"/v1/ingest/broadcast/wyscout?match_id={match_id}"
    records = [one[-1] for one in match.feed.records]
    return [(path, b"\n".join(records[n : n + size])) for n in range(0, len(records), size)]


def in_turn(lists: Sequence[Sequence[load.Body]]) -> list[load.Body]:
    """The first body of each match, then the second of each, as matches at the same hour would send them."""
    longest = max(map(len, lists), default=0)
    return [of[n] for n in range(longest) for of in lists if n < len(of)]


def same(accepted: Sequence[str], found: Sequence[str], where: str) -> None:
    """Fail unless the ids are the same, each as often."""
    want, got = Counter(accepted), Counter(found)
    missing, extra = (want - got).total(), (got - want).total()
    assert want == got, f"{len(accepted)} accepted, {len(found)} {where}: {missing} missing, {extra} too many"
