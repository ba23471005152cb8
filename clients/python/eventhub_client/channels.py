"""What a client wants of each channel, and how far it has come there: the memory that outlives connections."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from eventhub_client.messages import Json, identity

REMEMBERED = 4096
"""Events of a channel that are known again: a resume is exact, so that more than a node's frame holds is enough."""

View = tuple[tuple[str, tuple[str, ...]], ...]
"""What of a channel is wanted: the names of each sort; none of a sort leaves out nothing, of languages every one."""


class Channel:
    """One channel: its view, the cursor behind what was handed out last, and which events were."""

    __slots__ = ("_known", "asked", "cursor", "from_start", "name", "retry_at", "subscribed", "view")

    def __init__(self, name: str, cursor: str | None, from_start: bool, view: View) -> None:
        self.name, self.cursor, self.from_start, self.view = name, cursor, from_start, view
        self.asked: int | None = None
        """The command of this connection that asked for it."""
        self.subscribed = False
        """Whether this connection has it."""
        self.retry_at = 0.0
        """The loop's time before which it is not asked for again."""
        self._known: dict[object, None] = {}

    def wanted(self) -> Json:
        """How it is asked for: behind the cursor; without one from the start, or with a state."""
        wanted: Json = {"channel": self.name}
        if self.cursor is not None:
            wanted["cursor"] = self.cursor
        elif self.from_start:
            wanted["from"] = "start"
        return wanted

    def is_new(self, event: Mapping[str, object]) -> bool:
        """Whether this event was not handed out before; remembers it."""
        key = identity(event)
        if key is None:
            return True
        if key in self._known:
            return False
        self._known[key] = None
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return True

    def begin_again(self) -> None:
        """After a reset what was handed out before no longer stands, and may rightly come again."""
        self._known.clear()

    def lose_connection(self) -> None:
        """It is to be asked for anew, on another connection."""
        self.asked, self.subscribed, self.retry_at = None, False, 0.0


class Channels:
    """All channels of a client, by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Channel] = {}

    def __iter__(self) -> Iterator[Channel]:
        return iter(self._by_name.values())

    def get(self, name: object) -> Channel | None:
        """The channel of this name, while it is wanted."""
        return self._by_name.get(name) if isinstance(name, str) else None

    def add(self, channel: Channel) -> None:
        """Want a channel. Raises ValueError when it is wanted already."""
        if channel.name in self._by_name:
            raise ValueError(f"channel {channel.name!r} is subscribed already; unsubscribe from it first")
        self._by_name[channel.name] = channel

    def remove(self, name: str) -> Channel | None:
        """Want it no longer."""
        return self._by_name.pop(name, None)

    def lose_connection(self) -> None:
        """All are to be asked for anew."""
        for channel in self:
            channel.lose_connection()

    def asked_by(self, command: object) -> list[Channel]:
        """The channels that a command of this connection asked for and that are not subscribed yet."""
        return [c for c in self if c.asked is not None and c.asked == command and not c.subscribed]

    def due(self, now: float) -> list[list[Channel]]:
        """What is to be asked for now: one list for each view, for a command has one view."""
        unasked = [c for c in self if c.asked is None and c.retry_at <= now]
        unasked.sort(key=_view)
        return [list(group) for _, group in groupby(unasked, key=_view)]

    def next_due_at(self) -> float | None:
        """The loop's time at which the next channel is to be asked for again; None when none waits."""
        return min((c.retry_at for c in self if c.asked is None), default=None)

    def saw(self, cursors: Mapping[str, str]) -> None:
        """A node says that everything up to these cursors was sent, which also moves where nothing happened."""
        for name, cursor in cursors.items():
            channel = self._by_name.get(name)
            # A heartbeat may still name what was left; and what is not subscribed here has not come from here.
            if channel is not None and channel.subscribed:
                channel.cursor = cursor


def command(channels: Iterable[Channel]) -> Json:
    """The command that subscribes to channels of one view; counts as one change."""
    listed = list(channels)
    wanted = [channel.wanted() for channel in listed]
    told: Json = {"type": "subscribe", **(wanted[0] if len(wanted) == 1 else {"channels": wanted})}
    return told | {name: list(names) for name, names in listed[0].view if names}


def view_of(lanes: Sequence[str], types: Sequence[str], languages: Sequence[str]) -> View:
    """What of a channel is wanted."""
    return (("lanes", tuple(lanes)), ("types", tuple(types)), ("languages", tuple(languages)))


def _view(channel: Channel) -> View:
    return channel.view
