"""One session of a page over the web socket, as the browser holds it, without a browser."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol


@contextmanager
def open_session(port: int, page: str = "", *, name: str = "127.0.0.1", **options) -> Iterator[ClientConnection]:
    """A session of this machine's server, called by a name, that has asked for a page."""
    asked = BackMsg()
    asked.rerun_script.query_string = ""
    asked.rerun_script.page_name = page
    with (socket.create_connection(("127.0.0.1", port)) as plain,
          connect(f"ws://{name}:{port}/_stcore/stream", sock=plain, subprotocols=[Subprotocol("streamlit")],
                  max_size=None, proxy=None, open_timeout=60, **options) as connected):
        connected.send(asked.SerializeToString())
        yield connected


def drawn(connected: ClientConnection, *, timeout: float = 60) -> list[ForwardMsg]:
    """What the page sends until its script is finished."""
    found = []
    while True:
        message = ForwardMsg()
        message.ParseFromString(connected.recv(timeout=timeout))
        found.append(message)
        if message.WhichOneof("type") == "script_finished":
            return found


def exceptions(messages: list[ForwardMsg]) -> list[str]:
    """The exceptions that a page shows."""
    return [message.delta.new_element.exception.message for message in messages
            if message.WhichOneof("type") == "delta" and message.delta.new_element.WhichOneof("type") == "exception"]
