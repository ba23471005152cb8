"""What is allowed now: `normal` or `read_only`, one setting for the whole platform, a record on `control-events`.

Read-only refuses what would write Postgres, while ingest and the live feed go on. It needs neither Postgres nor Redis,
every node folds it, and a node that cannot read the topic yet goes by its local copy, else is read-only.
"""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec
import structlog

from eventhub.errors import ConflictError, RejectedError, UnavailableError

KEY = "mode"
RETRY_AFTER_S = 5
MAX_TEXT = 500
Name = Literal["normal", "read_only"]
log = structlog.get_logger(__name__)


class Setting(msgspec.Struct, frozen=True):
    """The mode with who set it, why, since when and until when; each change counts `revision` up by one."""

    mode: Name
    reason: str
    actor: str
    since: datetime | None
    until: datetime | None
    revision: int

    def at(self, now: datetime) -> "Setting":
        """The setting as it holds at a moment: one that has run out is normal, of the same revision."""
        if self.until is None or now < self.until:
            return self
        ended = f"{self.mode} ran out: {self.reason}"
        return Setting("normal", ended, self.actor, self.until, None, self.revision)


BEGINNING = Setting("normal", "", "", None, None, 0)
UNKNOWN = Setting("read_only", "the mode could not be read yet", "this node", None, None, 0)


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """What an operator asks for; `revision` is the one that it replaces, None where it does not matter."""

    mode: Name
    reason: str = ""
    actor: str = ""
    until: datetime | None = None
    revision: int | None = None


def change(current: Setting, wanted: Wanted, now: datetime) -> Setting:
    """The setting that follows. Pure.

    Raises RejectedError naming the place, ConflictError when `current` is not the revision that is to be replaced.
    """
    if wanted.revision is not None and wanted.revision != current.revision:
        raise ConflictError(
            f"the mode is at revision {current.revision} ({current.mode}, set by {current.actor or 'nobody'}),"
            f" not {wanted.revision}; read it again and decide anew",
            code="revision",
        )
    if wanted.mode == "read_only" and not wanted.reason.strip():
        raise RejectedError("read-only needs a reason; clients are told it", pointer="/reason")
    for name in ("reason", "actor"):
        if len(getattr(wanted, name)) > MAX_TEXT:
            raise RejectedError(f"{name} is longer than {MAX_TEXT} characters", pointer=f"/{name}")
    if wanted.until is not None and (wanted.until.tzinfo is None or wanted.until <= now):
        raise RejectedError("until is a moment with its zone, later than now", pointer="/until")
    return Setting(wanted.mode, wanted.reason, wanted.actor, now, wanted.until, current.revision + 1)


def read(value: bytes | None) -> Setting:
    """The setting of a record's value; the beginning where there is none. Raises msgspec.MsgspecError."""
    return BEGINNING if value is None else msgspec.json.decode(value, type=Setting)


class Mode:
    """The platform's mode as this node knows it; `kept` is the file of its local copy."""

    def __init__(self, kept: Path, now: Callable[[], datetime]) -> None:
        self._kept, self._now = kept, now
        self._setting = self._copy() or UNKNOWN
        self._folded = False
        self._changed = asyncio.Event()

    @property
    def current(self) -> Setting:
        """What holds now."""
        return self._setting.at(self._now())

    @property
    def read_only(self) -> bool:
        """Whether nothing may be written to Postgres."""
        return self.current.mode == "read_only"

    def fold(self, key: str, value: bytes | None) -> None:
        """Take a record of `control-events`; those of other keys are left alone."""
        if key == KEY:
            self._folded = True
            self._take(read(value))

    def settle(self) -> None:
        """The topic was read to its end: where it has no mode, it is normal, whatever the local copy says."""
        if not self._folded:
            self._take(BEGINNING)

    def check(self) -> None:
        """Raises UnavailableError (503 with Retry-After, code `read_only`) in read-only mode."""
        current = self.current
        if current.mode == "read_only":
            raise UnavailableError(
                f"the platform is read-only: {current.reason}; ingest and the live feed go on, try this again later",
                code="read_only",
                retry_after_s=RETRY_AFTER_S,
            )

    async def writable(self) -> None:
        """Return once the mode is normal."""
        while (current := self.current).mode == "read_only":
            changed = self._changed
            left_s = None if current.until is None else (current.until - self._now()).total_seconds()
            # Not wait_for: Python 3.11's loses a cancellation that comes together with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await changed.wait()

    def _take(self, setting: Setting) -> None:
        if setting != self._setting:
            log.info("mode", **msgspec.to_builtins(setting))
        self._setting = setting
        self._keep(setting)
        self._changed.set()
        self._changed = asyncio.Event()

    def _copy(self) -> Setting | None:
        try:
            return read(self._kept.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("the local copy of the mode cannot be read; read-only until Kafka answers", error=repr(error))
            return None

    def _keep(self, setting: Setting) -> None:
        draft = self._kept.with_name(f"{self._kept.name}.{secrets.token_hex(4)}")
        try:
            draft.write_bytes(msgspec.json.encode(setting))
            draft.replace(self._kept)
        except OSError as error:
            log.warning("no local copy of the mode was kept", error=repr(error), hint="is the data folder writable?")
            draft.unlink(missing_ok=True)
