"""How a node logs: one line an event on stderr, for people on a terminal and as JSON elsewhere.

Libraries that repeat themselves while a server is down are held to errors.
"""

import logging
import sys

import structlog

QUIET = {
    "faust": logging.ERROR,
    "mode": logging.ERROR,
    "aiokafka": logging.CRITICAL,
    "eventhub.streams.transport": logging.ERROR,
    "psycopg.pool": logging.ERROR,
    "uvicorn": logging.WARNING,
    "httpx2": logging.WARNING,
}
"""Loggers of libraries and the least level that is shown; aiokafka logs 50 lines a second while a broker is down."""


def set_up(*, terminal: bool) -> None:
    """Configure logging of this process; called once, by the node."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=terminal) if terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)
