"""What a follower that catches up is sent: events with a cursor each, what was left out, and the frames of both."""

from collections.abc import Mapping, Sequence

from eventhub.delivery import messages
from eventhub.delivery.channels import MATCH, Name
from eventhub.delivery.cursor import Cursor, pairs
from eventhub.delivery.feed import Feed
from eventhub.delivery.frame import Frame
from eventhub.delivery.past import Entry
from eventhub.delivery.shared import Fetched
from eventhub.delivery.slow import Skipped

WITH_ANSWER = 4
"""Events that share the frame of the answer, which is one client's alone; the rest are in frames for many."""


def lines(name: Name, epoch: str, floor: Mapping[int, int], partition: int, entries: Sequence[Entry]) -> list[bytes]:
    """The messages of events of one partition; `floor` is up to where each partition was sent."""
    prefix = messages.prefix(str(name), epoch)
    return [messages.event(prefix, pairs({**floor, partition: entry.offset}), entry.value) for entry in entries]


def frames(
    feed: Feed, name: Name, floor: Mapping[int, int], partition: int, entries: Sequence[Entry]
) -> list[tuple[Frame, int]]:
    """Frames, each with how many events it has; of one match, whose cursors are the same for all, they are shared."""
    key = (name, tuple(entry.offset for entry in entries)) if name.kind == MATCH else None
    kept = feed.frames.get(key)
    if kept is None:
        pieces = messages.pieces(lines(name, feed.source.epoch, floor, partition, entries))
        kept = [(Frame(piece), len(piece)) for piece in pieces]
        if key is not None:
            # Twice: plain and compressed.
            feed.frames.put(key, Fetched(kept, 2 * sum(frame.size_bytes for frame, _ in kept)))
    return kept


def told(name: Name, epoch: str, floor: Mapping[int, int], partition: int, skipped: Sequence[Skipped]) -> list[bytes]:
    """What was left out, for the client."""

    def cursor(offset: int) -> str:
        return str(Cursor(epoch, {**floor, partition: offset}))

    return [messages.skipped(str(name), one.lane, one.events, cursor(one.first), cursor(one.last)) for one in skipped]
