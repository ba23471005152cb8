"""The error table: every refusal has a stable code, an HTTP status, an exit code and, for an item, a pointer.

`code` is what clients switch on; it never changes. `detail` is for people: cause, value and next step. A detail never
holds a secret.
"""

from typing import ClassVar


class EventhubError(Exception):
    """Something went wrong that has a name; subclasses are the table."""

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 70
    close_code: ClassVar[int] = 3000

    def __init__(
        self,
        detail: str,
        *,
        pointer: str | None = None,
        retry_after_s: float | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.pointer = pointer
        self.retry_after_s = retry_after_s
        self.name = code or self.code


class UsageError(EventhubError):
    """The command was called in a way that it does not understand."""

    code, title, status, exit_code, close_code = "usage", "Wrong usage", 400, 64, 3503


class ConfigError(EventhubError):
    """Settings are missing, malformed or contradict what is running."""

    code, title, status, exit_code = "config", "Configuration error", 500, 78


class MalformedError(EventhubError):
    """The request is not what it should be; nothing of it was taken."""

    code, title, status, exit_code, close_code = "malformed", "Malformed request", 400, 65, 3501


class RejectedError(EventhubError):
    """One item is refused: its code, and a JSON pointer to the place inside it."""

    code, title, status, exit_code = "rejected", "Item refused", 422, 65


class TooLargeError(EventhubError):
    """A body, frame or item exceeds its limit."""

    code, title, status, exit_code, close_code = "too_large", "Too large", 413, 65, 3502


class TooSlowError(EventhubError):
    """The request came too slowly; the connection is closed."""

    code, title, status, exit_code = "too_slow", "Request too slow", 408, 75


class HeadTooLargeError(EventhubError):
    """The URL or the headers exceed their limits."""

    code, title, status, exit_code = "head_too_large", "Request head too large", 431, 65


class NotAllowedError(EventhubError):
    """The path is there, but not with this method."""

    code, title, status, exit_code = "method_not_allowed", "Method not allowed", 405, 64


class UnauthorizedError(EventhubError):
    """No key or token, or one that is unknown, ended or revoked."""

    code, title, status, exit_code, close_code = "unauthorized", "Not authorized", 401, 77, 3500


class ForbiddenError(EventhubError):
    """The key or token is good, but not for this."""

    code, title, status, exit_code, close_code = "forbidden", "Not allowed", 403, 77, 3504


class NotFoundError(EventhubError):
    """Nothing has this name."""

    code, title, status, exit_code = "not_found", "Not found", 404, 65


class ConflictError(EventhubError):
    """What a condition of the request excludes is already there."""

    code, title, status, exit_code = "exists", "Already there", 412, 65


class PreconditionError(EventhubError):
    """The request must say what it replaces, so that two operators do not overwrite each other unseen."""

    code, title, status, exit_code = "precondition", "Precondition required", 428, 65


class LimitError(EventhubError):
    """The caller asks for more than its limit; try again later."""

    code, title, status, exit_code, close_code = "limit", "Too many requests", 429, 75, 3013


class UnavailableError(EventhubError):
    """Something that this needs is down or overloaded; try again later."""

    code, title, status, exit_code, close_code = "unavailable", "Unavailable", 503, 69, 3001


ITEM_CODES: dict[str, str] = {
    "malformed": "not JSON, or not of the declared shape",
    "unknown_type": "the type is not in the vocabulary",
    "unknown_match": "the match was not declared: PUT /v1/matches/{match_id} first",
    "unknown_team": "the team does not play in the declared match",
    "unknown_period": "the period is not in the vocabulary",
    "wrong_source": "this key's source may not send this type",
    "wrong_match": "the record belongs to another match than the request",
    "unmapped": "the provider's record has no counterpart in the vocabulary",
    "too_late": "it occurred before the admission window",
    "too_early": "it occurred more than 5 minutes ahead",
    "too_deep": "nested deeper than the limit",
    "too_large": "more bytes than one item may have",
    "number_range": "a number outside the range of 64 bits or of a double",
    "id_conflict": "the same id and revision came with other bytes",
    "enrichment_failed": "a step failed on it in a way that was not foreseen",
    "crash_poison": "it ended its worker twice",
}
"""Codes of a refused item, with what each means."""
