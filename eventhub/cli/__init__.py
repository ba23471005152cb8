"""Commands. This package renders; what is done is done below it.

Data goes to stdout, everything else to stderr. Commands import what they need when they run, so that help is quick.
"""

import os
import sys

from cyclopts import App, CycloptsError, Parameter

from eventhub import __version__

USAGE = 64
INTERNAL = 70
INTERRUPTED = 130
DEBUG_VARIABLE = "EVENTHUB_DEBUG"

# The first line of a help is what lists show. Help is written here, not in the commands' docstrings, so that a list
# needs none of their modules; plain text, because loading a Markdown renderer takes as long as all the rest.
app = App(
    name="eventhub",
    help="Live sports events, in one durable order, to everyone who watches.",
    help_epilogue=(
        "Settings: flag > environment > secret file > settings file > default.\n"
        "Exit codes: 0 done, 64 usage, 65 bad data, 69 unavailable, 75 try again, 77 not allowed, 78 settings."
    ),
    help_format="plaintext",
    version=__version__,
    version_flags=["--version"],
    default_parameter=Parameter(negative=""),
    suppress_keyboard_interrupt=False,
)
NODE, SETTINGS = "eventhub.cli.node", "eventhub.cli.settings"
app.command(
    f"{NODE}:serve",
    help=(
        "Run a node.\n\n"
        "Kafka and PostgreSQL are started in the data folder, unless settings give their addresses. A second node on"
        " that folder joins what runs there; the last one to stop stops it. Ctrl-C tells clients to reconnect and ends."
    ),
)
app.command(
    "eventhub.cli.status:status",
    help="Show how a node is.\n\nWithout --admin: the first that answers of the ports that a local node may have.",
)
app.command(f"{NODE}:migrate", help="Bring the database's schema to this version.")
app.command(f"{NODE}:version", help="Print the version.")
app.command(
    "eventhub.cli.completion:completion",
    help=(
        "Print a shell's completion script.\n\n"
        "Keep it where the shell looks:\n"
        "  bash  ~/.local/share/bash-completion/completions/eventhub\n"
        "  zsh   _eventhub in a folder of $fpath\n"
        "  fish  ~/.config/fish/completions/eventhub.fish"
    ),
)
keys = App(name="keys", help="Ingest keys.", version_flags=[])
keys.command(
    f"{NODE}:create_key",
    name="create",
    help="Make a key and print it.\n\nIt is shown once: only its hash is kept.",
)
token = App(name="token", help="Access tokens.", version_flags=[])
token.command(f"{NODE}:create_token", name="create", help="Print an access token of 15 minutes.")
USERS = "eventhub.cli.users"
users = App(name="users", help="Who may log in.", version_flags=[])
users.command(
    f"{USERS}:create",
    help="Make a user.\n\nThe password is asked for, or read from stdin; it is never an argument.",
)
users.command(f"{USERS}:show_list", name="list", help="List users with their plans.")
users.command(f"{USERS}:plan", help="Give a user a plan.")
users.command(
    f"{USERS}:disable",
    help=(
        "Close an account.\n\n"
        "Every node ends its connections within a second and takes none of its tokens; PostgreSQL is not needed for it."
    ),
)
users.command(f"{USERS}:enable", help="Open an account again.\n\nWhat it had before stays void: the user logs in anew.")
users.command(
    f"{USERS}:password",
    help="Change a password.\n\nEvery login of the user ends. The password is asked for, or read from stdin.",
)
feed = App(name="feed", help="Sending events.", version_flags=[])
feed.command(
    "eventhub.cli.feed:replay",
    help="Send a provider's file, in match time.\n\nThe same command goes on where it stopped.",
)
events = App(name="events", help="Seeing events.", version_flags=[])
events.command(
    "eventhub.cli.tail:tail",
    help="Follow a channel, live.\n\nWithout --from: the state of match:ID, team:ID or scores, then what follows.",
)
mode = App(name="mode", help="What the platform takes now.", version_flags=[])
mode.command("eventhub.cli.mode:get", help="Show the mode.")
mode.command(
    "eventhub.cli.mode:set_mode",
    name="set",
    help=(
        "Go read-only, or back to normal.\n\n"
        "It holds for the whole platform, on every node within a second. Read-only refuses what would write PostgreSQL,"
        " with 503 and Retry-After; ingest and the live feed go on, and history catches up after."
    ),
)
DLQ = "eventhub.cli.dlq"
dlq = App(name="dlq", help="Dead letters.", version_flags=[])
dlq.command(f"{DLQ}:show_list", name="list", help="List what could not be processed, newest first.")
dlq.command(f"{DLQ}:show", help="Show a dead letter with its bytes.")
dlq.command(
    f"{DLQ}:replay",
    help=(
        "Send dead letters again.\n\n"
        "At the step where they failed, so remove the cause first. What is on the log by now is dropped as a duplicate;"
        " what fails again is the same letter with one more try."
    ),
)
dlq.command(
    f"{DLQ}:discard",
    help="Put dead letters away.\n\nTheir bytes stay for 30 days, and replay KEY still takes them.",
)
app.command(
    "eventhub.cli.trace:trace",
    help=(
        "Show where an event has been.\n\n"
        "Raw topic, log, history, dead letters, with offsets, times and milliseconds. Needs no running node."
    ),
)
app.command(
    "eventhub.cli.doctor:doctor",
    help=(
        "Check Kafka and PostgreSQL.\n\n"
        "Every setting that would lose or double events, with the next step; nothing is changed. Ends with 78 when"
        " something is refused, with 69 when a server does not answer."
    ),
)
cluster_topics = App(name="topics", help="Kafka's topics.", version_flags=[])
cluster_topics.command(
    "eventhub.cli.topics:plan",
    help=(
        "Print what must exist, and how.\n\n"
        "For a cluster whose topics others own: the topics, how what is there differs, and the commands for it. Nothing"
        " is changed. Ends with 78 when something is to be done."
    ),
)
waiting = App(name="spool", help="Events that wait on disk for Kafka.", version_flags=[])
waiting.command("eventhub.cli.spool:status", help="Show what waits in the spool folders of the data folder.")
waiting.command(
    "eventhub.cli.spool:drain",
    help="Send what dead nodes left.\n\nA living node drains its own, and what dead ones left beside it, by itself.",
)
config = App(name="config", help="Settings.", version_flags=[])
config.command(
    f"{SETTINGS}:show",
    help="Show each setting and where it comes from.\n\nSecrets are shown as (set) or (unset).",
)
config.command(f"{SETTINGS}:defaults", help="Print a settings file that holds the defaults.")
for group in (keys, token, users, feed, events, mode, dlq, cluster_topics, config, waiting):
    app.command(group)


def main() -> None:
    """Run a command and exit.

    0 done, 64 usage, 65 bad data, 69 unavailable, 70 a defect, 75 try again, 77 not allowed, 78 settings, 130 Ctrl-C.
    A reader of stdout that goes away ends the command with 0.
    """
    try:
        app(exit_on_error=False, print_error=True)
    except CycloptsError:
        sys.exit(USAGE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        from eventhub.cli.console import quiet_stdout

        quiet_stdout()
    except Exception as error:
        sys.exit(_failed(error))


def _failed(error: Exception) -> int:
    """Tell what went wrong; returns the exit code. What has no name in the error table is a defect."""
    import traceback

    from eventhub.cli.console import fail
    from eventhub.errors import EventhubError

    named = isinstance(error, EventhubError)
    if not named or DEBUG_VARIABLE in os.environ:
        traceback.print_exception(error)
    if not isinstance(error, EventhubError):
        return INTERNAL
    fail(error)
    return error.exit_code
