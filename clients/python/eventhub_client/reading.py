"""What a line of the stream means: pure, but for what it notes of the channels and of the connection."""

import asyncio
import json
from collections.abc import Callable

from eventhub_client import messages
from eventhub_client.backoff import at_least
from eventhub_client.channels import Channel, Channels
from eventhub_client.errors import LostError, RefusedError
from eventhub_client.link import Link
from eventhub_client.messages import Json, Message


class Reading:
    """Takes lines in their order. `told` is called with a refusal after which the client asks again, and the wait."""

    def __init__(self, channels: Channels, told: Callable[[RefusedError, float], None]) -> None:
        self._channels, self._told = channels, told
        self._mode = "normal"

    def take(self, line: str, link: Link) -> Message | None:
        """What this line hands to the program; None when it is the client's own affair, or is known already.

        Raises RefusedError for a channel that is refused for good, LostError for a line that cannot be understood.
        """
        try:
            raw = json.loads(line)
            if raw["type"] == "event":
                return self._event(raw, line)
            if raw["type"] == "error":
                self._error(raw, link)
                return None
            return self._other(raw, line, link)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LostError(f"a message cannot be understood ({error!r}): {line[:200]}") from error

    def _event(self, raw: Json, line: str) -> Message | None:
        channel = self._channels.get(raw["channel"])
        if channel is None or not channel.subscribed:
            return None
        event = messages.event(raw, line)
        channel.cursor = event.cursor
        return event if channel.is_new(event.event) else None

    def _other(self, raw: Json, line: str, link: Link) -> Message | None:
        channel = self._channels.get(raw.get("channel"))
        if "channel" in raw and (channel is None or not (channel.subscribed or raw["type"] == "subscribed")):
            # It was on its way when the program left the channel, also when it has come back since.
            return None
        match raw["type"]:
            case "connected":
                return self._connected(raw, link)
            case "subscribed":
                link.subscribed_at = link.subscribed_at or asyncio.get_running_loop().time()
                if channel is not None:
                    channel.subscribed = True
            case "heartbeat":
                self._channels.saw(raw["cursors"])
            case "reconnect":
                self._channels.saw(raw["cursors"])
                link.leaving, link.retry_after_s = True, raw["in_ms"] / 1000
        return self._handed_out(channel, messages.other(raw, line))

    def _handed_out(self, channel: Channel | None, message: Message | None) -> Message | None:
        if isinstance(message, messages.Notice):
            self._mode = message.mode
        elif channel is not None and isinstance(message, messages.State | messages.Reset):
            # `skipped` has cursors too, but what follows it lies between them: it is no place to resume from.
            channel.cursor = message.cursor
            if isinstance(message, messages.Reset):
                channel.begin_again()
        return message

    def _connected(self, raw: Json, link: Link) -> Message | None:
        link.may_be_silent_for(raw["ping_s"])
        missed = raw["mode"] == "normal" != self._mode
        self._mode = raw["mode"]
        return messages.normal_again() if missed else None

    def _error(self, raw: Json, link: Link) -> None:
        code, detail, number = raw["code"], raw["message"], raw.get("id")
        retry_after_s = raw["retry_after_ms"] / 1000 if "retry_after_ms" in raw else None
        if link.refused(number):
            return
        if "channel" in raw:
            named = self._channels.get(raw["channel"])
            if named is None:
                return
            refused = [named]
        else:
            refused = self._channels.asked_by(number)
        if not refused:
            # It is about the connection, and its close follows.
            link.complaint, link.retry_after_s = detail, retry_after_s or link.retry_after_s
        elif retry_after_s is not None:
            self._ask_again(refused, RefusedError(code, detail, _names(refused), retry_after_s=retry_after_s))
        else:
            for channel in refused:
                self._channels.remove(channel.name)
            raise RefusedError(code, detail, _names(refused))

    def _ask_again(self, refused: list[Channel], error: RefusedError) -> None:
        wait_s = at_least(error.retry_after_s or 0.0)
        for channel in refused:
            channel.asked, channel.subscribed = None, False
            channel.retry_at = asyncio.get_running_loop().time() + wait_s
        self._told(error, wait_s)


def _names(channels: list[Channel]) -> str:
    return ", ".join(channel.name for channel in channels)
