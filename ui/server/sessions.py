"""What a session gives back when its browser has gone."""

from __future__ import annotations

import asyncio

from streamlit.runtime import get_instance
from streamlit.runtime.app_session import AppSession

PERIOD_S = 2.0


async def close_idle_loops() -> None:
    """Close the event loops of disconnected sessions, again and again, until cancelled.

    Streamlit keeps a session for two minutes in case its browser comes back, and with it an event loop of three file
    descriptors, which only the garbage collector closes. A session that comes back makes itself a new loop.
    """
    while True:
        await asyncio.sleep(PERIOD_S)
        for session in disconnected_sessions():
            loop = session._script_event_loop
            if session._scriptrunner is None and not loop.is_running():
                loop.close()


def disconnected_sessions() -> list[AppSession]:
    """The sessions without a browser that may still come back."""
    return [kept.session for kept in get_instance()._session_mgr._session_storage.list()]
