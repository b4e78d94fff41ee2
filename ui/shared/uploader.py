"""The upload widget: files go to disk through the resumable route, and Python learns only their ids.

    files = uploader("Model files", kind="model", key="add_model")    # list[Upload], complete ones only
"""

from __future__ import annotations

import time
from pathlib import Path

import streamlit as st

from storage.records import LOCAL
from ui.server.routes import UPLOAD_PURPOSE
from ui.server.tokens import DAY_S, home_secret, is_valid, new_session, sign
from ui.server.uploads import SUFFIXES, Kind, Upload, UploadRefused, Uploads
from ui.shared.links import api_base
from ui.shared.state import store

_HERE = Path(__file__).parent
_TOKEN = "recpress.upload_token"
_SESSION = "recpress.upload_session"


def uploader(label: str, *, kind: Kind, key: str, hint: str = "", multiple: bool = True) -> list[Upload]:
    """Draw the widget and give what it has uploaded completely, as the server knows it (never as the browser says).

    The browser's word is taken for ids alone; an id that isn't an upload of this session and kind is left out.
    """
    mount = _component()
    mount(key=key, default={"files": []}, on_files_change=lambda: None, data={
        "label": label, "kind": kind, "multiple": multiple, "accept": ",".join(SUFFIXES[kind]),
        "hint": hint or "or drop them here", "url": f"{api_base()}/uploads",
        "token": _session_token(session_name()), "clear": st.session_state.get(f"{key}.clear", 0)})
    said = (st.session_state.get(key) or {}).get("files") or []
    return received([item.get("id") for item in said if isinstance(item, dict)], kind=kind, session=session_name())


def received(ids: list[str | None], *, kind: Kind, session: str) -> list[Upload]:
    """The complete uploads of a session among ids, one for each name, the last chosen first to win."""
    uploads = Uploads(store().home / "uploads", store().files)
    found: dict[str, Upload] = {}
    for upload_id in ids[:100]:
        try:
            upload = uploads.find(str(upload_id), owner=LOCAL)
        except UploadRefused:
            continue
        if upload.digest and upload.kind == kind and upload.is_of(session):
            found[upload.name] = upload
    return list(found.values())


def clear_uploader(key: str) -> None:
    """Empty the widget after its files have been taken. Call before it is drawn, or in a callback."""
    st.session_state[f"{key}.clear"] = st.session_state.get(f"{key}.clear", 0) + 1
    if key in st.session_state:
        del st.session_state[key]


def session_name() -> str:
    """The name under which this session's uploads are kept; the browser can't choose it."""
    return st.session_state.setdefault(_SESSION, new_session())


def _session_token(session: str) -> str:
    """This session's token, renewed when half of its time is over."""
    now, secret = time.time(), home_secret(store().home)
    token = st.session_state.get(_TOKEN)
    if token is None or not is_valid(secret, UPLOAD_PURPOSE, token, now=now + DAY_S / 2):
        token = st.session_state[_TOKEN] = sign(secret, UPLOAD_PURPOSE, now=now, session=session)
    return token


@st.cache_resource(show_spinner=False)
def _component():
    return st.components.v2.component("recpress_uploader", js=(_HERE / "uploader.js").read_text(encoding="utf-8"),
                                      css=(_HERE / "uploader.css").read_text(encoding="utf-8"))
