"""Links to the download routes, signed so that only who saw the page can follow them, and drawn as links.

Bytes go from disk to the browser by the route; `st.download_button` would hold them in the server's memory.
"""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Mapping
from urllib.parse import quote

import streamlit as st
from streamlit import config

from storage.store import Store
from ui.server.tokens import home_secret, sign
from ui.shared.format import human_bytes
from ui.shared.state import store

LINK_LIFETIME_S = 12 * 3600.0


def run_file_url(job_id: int, name: str) -> str:
    """The address of a file of a finished run, "bundle.zip" for one, good for twelve hours."""
    return _signed(f"runs/{job_id}/{name}")


def model_file_url(model_id: str, name: str) -> str:
    """The address of a file of a stored model."""
    return _signed(f"models/{model_id}/{name}")


def data_file_url(data_id: str, name: str) -> str:
    """The address of a file of a stored dataset."""
    return _signed(f"datasets/{data_id}/{name}")


def split_url(data_id: str, split: str) -> str:
    """The address of a split ("train", "valid", "test") as CSV."""
    return _signed(f"datasets/{data_id}/splits/{split}.csv")


def draw_download(label: str, url: str, *, primary: bool = False, help: str = "") -> None:
    """A link that looks like a button and saves the file without leaving the page."""
    kind = "rp-download rp-primary" if primary else "rp-download"
    title = f' title="{html.escape(help, quote=True)}"' if help else ""
    st.html(f'<a class="{kind}" href="{html.escape(url, quote=True)}" download{title}>{html.escape(label)}</a>',
            width="content")


def draw_files(store: Store, manifest: Mapping[str, str], url: Callable[[str], str]) -> None:
    """A link to each file of a manifest (name → digest), with its size; `url` makes an address of a name."""
    for name, digest in sorted(manifest.items()):
        draw_download(f"{name} · {human_bytes(store.files.size({name: digest}))}", url(name), help=f"sha256 {digest}")


def api_base() -> str:
    """The path of the routes: "/api", below the app's base path if it has one."""
    base = (config.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{base}/api" if base else "/api"


def _signed(path: str) -> str:
    place = f"{api_base()}/{path}"
    token = sign(home_secret(store().home), f"get {place}", now=time.time(), lifetime_s=LINK_LIFETIME_S)
    return f"{quote(place)}?token={token}"
