"""uvicorn around an ASGI application: sockets bound before anything is served, signals left to the node."""

from eventhub.server.listener import NEXT_PORTS, Listener, bind

__all__ = ["NEXT_PORTS", "Listener", "bind"]
