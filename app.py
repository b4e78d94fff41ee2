"""The server: the pages of router.py, the upload and download routes, and the workers.

    streamlit run app.py
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.concurrency import run_in_threadpool
from streamlit.runtime.pages_manager import PagesManager

from jobs.supervise import supervised
from ui.links import api_base
from ui.routes import make_routes
from ui.state import store
from ui.uploads import Uploads

# streamlit takes a folder named pages for its own way of making pages until st.navigation has run once: the first
# visit to a deep link after a start would miss router.py
PagesManager.uses_pages_directory = False


@asynccontextmanager
async def lifespan(server: st.App) -> AsyncIterator[dict[str, Any]]:
    """Open (and migrate) the store, move forgotten uploads aside, keep workers running while the server does."""
    os.umask(0o077)  # logs, uploads and downloads are for the owner alone, and so is what the workers write
    opened = await run_in_threadpool(store)
    await run_in_threadpool(Uploads(opened.home / "uploads", opened.files).sweep)
    with supervised():
        yield {}


app = st.App(Path(__file__).with_name("router.py"), lifespan=lifespan,
             routes=make_routes(store, base=api_base().removesuffix("/api")))
