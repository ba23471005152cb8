"""How late and how early events are taken, in seconds: ingest admits by it, and streams remembers ids by it.

Ids are remembered for as long as their like is admitted and SLACK_S more, so that what passes ingest is recognised.
"""

AHEAD_S = 5 * 60
LATE_S: dict[str, int] = {"sensors": 2 * 60, "social": 15 * 60}
"""By source; broadcast goes by its match."""
LONGEST_MATCH_S = 4 * 3600
"""From the declared start to the scheduled end."""
AFTER_FINAL_S = 6 * 3600
SLACK_S = 10 * 60
