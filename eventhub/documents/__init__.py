"""Documents made from the code, so that they cannot say anything else: OpenAPI and the pages of docs/reference."""

from eventhub.documents.openapi import document
from eventhub.documents.viewer import routes

__all__ = ["document", "routes"]
