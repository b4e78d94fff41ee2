"""A file that was exported here and came without its bundle: the run that made it is found by the file's digest."""

from __future__ import annotations

import zipfile
from functools import lru_cache
from pathlib import Path

import streamlit as st

from compression.spec.names import BUNDLE
from storage.records import Job
from storage.store import Store
from ui.shared.escape import escaped

SUMS = "SHA256SUMS"
MAX_SUMS_BYTES = 100_000


def draw_own_bundle(store: Store, files: dict[str, str], *, key: str) -> dict[str, str]:
    """The files to read: those that came, or the stored bundle that holds them where the person takes it."""
    found = run_of(store, files)
    if found is None:
        return files
    job, bundle = found
    place = f"{key}.bundle"
    if st.session_state.get(place) == bundle:
        st.caption(escaped(f"Read with signature and vocabularies of the bundle of run {job.id}, {job.name}."))
        return {BUNDLE: bundle}
    st.info(escaped(f"RecPress exported this file in run {job.id}, {job.name}. The bundle of that run holds the same "
                    "file, and says what it reads and how values are numbered."))
    if st.button("Take its signature and vocabularies", key=f"{key}.take", type="primary"):
        st.session_state[place] = bundle
        st.rerun()
    return files


def run_of(store: Store, files: dict[str, str]) -> tuple[Job, str] | None:
    """The newest run whose bundle holds all these files (name → digest), whatever they are called, and its digest."""
    return next(((job, bundle) for job, bundle in store.bundles()
                 if set(files.values()) <= _digests(store.files.path(bundle))), None)


@lru_cache(maxsize=1024)
def _digests(bundle: Path) -> frozenset[str]:
    """The digests of the files in a bundle, as its own list has them; a stored file never changes."""
    try:
        with zipfile.ZipFile(bundle) as archive, archive.open(SUMS) as sums:
            return frozenset(line.split(b"  ")[0].decode() for line in sums.read(MAX_SUMS_BYTES).splitlines())
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return frozenset()
