"""What can go wrong, by what the caller can do about it. Every text names the cause, the value and the next step."""


class ClientError(Exception):
    """Anything that this package raises."""


class LostError(ClientError):
    """A connection or an attempt failed, and the next one may succeed: told to `on_retry`, raised by nothing.

    `code` is the close code where there was one; `retry_after_s` is how long the node asked to stay away.
    """

    def __init__(self, reason: str, *, code: int | None = None, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.code = code
        self.retry_after_s = retry_after_s


class ClosedError(ClientError):
    """The node closed the connection for good: do not come back before what it names is mended.

    `code` is a close code from 3500 to 3999, or the HTTP status 401 or 403 of a refused handshake.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the node closed for good: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class RefusedError(ClientError):
    """A channel was refused. Switch on `code`, which never changes; `detail` is for people.

    With a `retry_after_s` it is only told to `on_retry`, for the client asks again by itself. Without one it is raised
    once, the channel is given up, and the client goes on with the others when it is iterated again.
    """

    def __init__(self, code: str, detail: str, channel: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(f"{channel}: {detail} ({code})")
        self.code = code
        self.detail = detail
        self.channel = channel
        self.retry_after_s = retry_after_s


class GaveUpError(ClientError):
    """Nothing succeeded for `give_up_after_s` seconds; the last failure is its cause."""


class IngestError(ClientError):
    """A whole request of a producer was refused for good: its key, its route or its form is wrong.

    `status` is that of HTTP, `code` the one that never changes, `detail` for people.
    """

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"the node refused the request: {status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail


class RejectedError(ClientError):
    """Items were refused and no `on_rejected` was given to take them: the producer stopped before its checkpoint."""


class CheckpointError(ClientError):
    """The checkpoint's file cannot be understood."""
