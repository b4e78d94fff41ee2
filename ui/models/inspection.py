"""What an uploaded model asks for, read in a process of its own while the page goes on."""

from __future__ import annotations

from collections.abc import Hashable

import streamlit as st

from compression.importers.inspection import Look
from compression.importers.kept import LOOKS, KeptLook
from compression.importers.sandbox.process import look_in_sandbox
from compression.spec.errors import RecPressError
from storage.store import Store
from ui.server.background import BACKGROUND, Task
from ui.shared.escape import escaped
from ui.shared.format import human_seconds

POLL_S = 1.0


def inspected(store: Store, files: dict[str, str]) -> Look | None:
    """What the files (name → digest) ask for; None while they are read, and where they are refused, which is drawn.

    Files are read once: the outcome stays with their digests, for every rerun, a page loaded again and a new binding.
    """
    task = _task(store, files)
    if not task.done:
        _follow(store, files)
        return None
    try:
        return task.result()
    except Exception as error:  # the log has a fault of ours
        said = error if isinstance(error, RecPressError) else f"Reading it failed ({type(error).__name__})."
        st.error(f"**This can't be read as a model.** {escaped(said)}")
        st.button("Read it again", on_click=BACKGROUND.forget, args=(_key(store, files),),
                  help="For a refusal that may pass: a full disk, a machine that was too busy.")
        return None


def _key(store: Store, files: dict[str, str]) -> Hashable:
    return "inspection", str(store.home), tuple(sorted(files.items()))


def _task(store: Store, files: dict[str, str]) -> Task:
    return BACKGROUND.ask(_key(store, files), lambda: look_in_sandbox(
        {name: store.files.path(digest) for name, digest in files.items()},
        kept=KeptLook.of(store.home / LOOKS, files)))


@st.fragment(run_every=POLL_S)
def _follow(store: Store, files: dict[str, str]) -> None:
    """How long the reading takes so far; the page is drawn anew when it ends."""
    task = _task(store, files)
    if task.done:
        st.rerun()
    st.progress(0.0, text=f"Reading the file in a process of its own · {human_seconds(BACKGROUND.seconds(task))}")
