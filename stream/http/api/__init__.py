"""HTTP for those without a Kafka client: lists out, events in. Its own process; neither torch nor the model is loaded.

`server.py` puts the parts together: a follower keeps the newest list of every user in a view, the application answers
from it, and posted events go to the brokers before they are acknowledged.
"""

from stream.http.api.openapi import openapi_document
from stream.http.api.server import ListServer

__all__ = ["ListServer", "openapi_document"]
