"""What the server does before its first visitor and after its last: imports for every page, an end in time."""

from __future__ import annotations

import importlib
import os
import pkgutil
import signal
import threading

import uvicorn

import ui

OPEN_REQUESTS_S = 2.0  # how long requests may go on after the signal to end
END_S = 8.0  # after the signal to end, including workers that give their jobs back
LIBRARIES = ("pandas", "pyarrow", "plotly.graph_objects", "plotly.io", "polars")


def import_pages() -> None:
    """Import what the pages need, in one thread: two first visits at once would see a half-imported pandas."""
    for name in (*LIBRARIES, *(found.name for found in pkgutil.walk_packages(ui.__path__, "ui."))):
        importlib.import_module(name)


def bound_open_requests() -> None:
    """Let a signal end the server although a request is half sent.

    uvicorn waits for open requests without a limit unless `timeout_graceful_shutdown` is set, and `streamlit run`
    has no option for it. The running server is the one whose method handles the signal.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if isinstance(server, uvicorn.Server) and server.config.timeout_graceful_shutdown is None:
        server.config.timeout_graceful_shutdown = OPEN_REQUESTS_S


def end_in_time(seconds: float = END_S - OPEN_REQUESTS_S) -> None:
    """End the process by force where its orderly end takes longer: a thread may still be hashing a large file.

    Nothing is lost by it: files are moved into place whole, rows are written in transactions, workers go with the app.
    """
    last = threading.Timer(seconds, os._exit, args=(0,))
    last.daemon = True
    last.start()
