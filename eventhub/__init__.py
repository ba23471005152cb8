"""eventhub: live sports events, in one durable order, to everyone who watches."""

__version__ = "0.1.0"
