"""Commands. This package renders; what is done is done below it.

Data goes to stdout, everything else to stderr. Commands import what they need when they run, so that help is quick.
"""

import os
import sys
import traceback

from cyclopts import App, CycloptsError

USAGE = 64
DEBUG_VARIABLE = "EVENTHUB_DEBUG"

app = App(name="eventhub", help="Live sports events, in one durable order, to everyone who watches.", version_flags=[])
app.command("eventhub.cli.node:serve", help="Run a node.")
app.command("eventhub.cli.node:migrate", help="Bring the database's schema to this version.")
app.command("eventhub.cli.node:version", help="Print the version.")
keys = App(name="keys", help="Ingest keys.")
keys.command("eventhub.cli.node:create_key", name="create", help="Make a key and print it.")
token = App(name="token", help="Access tokens.")
token.command("eventhub.cli.node:create_token", name="create", help="Print an access token.")
feed = App(name="feed", help="Sending events.")
feed.command("eventhub.cli.feed:replay", help="Send a provider's file, in match time.")
events = App(name="events", help="Seeing events.")
events.command("eventhub.cli.tail:tail", help="Follow a channel, live.")
for group in (keys, token, feed, events):
    app.command(group)


def main() -> None:
    """Run a command and exit.

    0 done, 64 usage, 65 bad data, 69 unavailable, 75 try again, 77 not allowed, 78 settings.
    """
    from eventhub.cli.console import fail
    from eventhub.errors import EventhubError

    try:
        app(exit_on_error=False, print_error=True)
    except EventhubError as error:
        if DEBUG_VARIABLE in os.environ:
            traceback.print_exc()
        fail(error)
        sys.exit(error.exit_code)
    except CycloptsError:
        sys.exit(USAGE)
    except KeyboardInterrupt:
        sys.exit(130)
