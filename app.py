"""The server: the pages of router.py, the upload and download routes, and the workers.

    streamlit run app.py
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from streamlit.runtime.pages_manager import PagesManager

from jobs.supervise import supervised
from ui.server.gate import Gate
from ui.server.routes import make_routes
from ui.server.sessions import close_idle_loops
from ui.server.startup import bound_open_requests, end_in_time, import_pages
from ui.server.uploads import Uploads
from ui.settings.view import gpu_count
from ui.shared.links import api_base
from ui.shared.state import store

# streamlit takes a folder named pages for its own way of making pages until st.navigation has run once: the first
# visit to a deep link after a start would miss router.py
PagesManager.uses_pages_directory = False


@asynccontextmanager
async def lifespan(server: st.App) -> AsyncIterator[dict[str, Any]]:
    """Import the pages, open (and migrate) the store, move forgotten uploads aside, keep workers running to the end."""
    os.umask(0o077)  # logs, uploads and downloads are for the owner alone, and so is what the workers write
    bound_open_requests()
    await run_in_threadpool(import_pages)
    await run_in_threadpool(gpu_count)
    opened = await run_in_threadpool(store)
    await run_in_threadpool(Uploads(opened.home / "uploads", opened.files).sweep)
    closing = asyncio.create_task(close_idle_loops())
    with supervised():
        yield {}
        end_in_time()
    closing.cancel()


app = st.App(Path(__file__).with_name("router.py"), lifespan=lifespan, middleware=[Middleware(Gate)],
             routes=make_routes(store, base=api_base().removesuffix("/api")))
