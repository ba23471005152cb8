"""When an event is admitted: not too late for its ids to be remembered, not ahead of the clock. Pure."""

from datetime import datetime, timedelta

from eventhub.errors import RejectedError
from eventhub.events import Match, Source
from eventhub.windows import AFTER_FINAL_S, AHEAD_S, LATE_S, LONGEST_MATCH_S

AHEAD = timedelta(seconds=AHEAD_S)
LATE = {source: timedelta(seconds=late_s) for source, late_s in LATE_S.items()}
OPEN = timedelta(seconds=LONGEST_MATCH_S + AFTER_FINAL_S)


def admit(source: Source, occurred_at: datetime, match: Match, now: datetime) -> None:
    """Raise RejectedError when the event occurred outside its source's window.

    Sensors may be 2 minutes late, social 15 minutes; broadcast is taken until 6 h after the match's scheduled end,
    which is 4 h after the declared start. Streams remembers ids for 10 minutes more than that.
    """
    if occurred_at > now + AHEAD:
        ahead_s = (occurred_at - now).total_seconds()
        raise RejectedError(
            f"it occurred {ahead_s:.0f} s ahead of this node's clock; at most {AHEAD_S} s are allowed",
            code="too_early",
            pointer="/occurred_at",
        )
    if source == "broadcast":
        closed = match.starts_at + OPEN
        if now > closed:
            raise RejectedError(
                f"match {match.match_id} closed for broadcast events at {closed:%Y-%m-%dT%H:%M:%SZ};"
                " declare it again with its real starts_at if it was moved",
                code="too_late",
                pointer="/occurred_at",
            )
    elif occurred_at < now - LATE[source]:
        late_s = (now - occurred_at).total_seconds()
        raise RejectedError(
            f"it occurred {late_s:.0f} s ago; {source} may be {LATE_S[source]} s late",
            code="too_late",
            pointer="/occurred_at",
        )
