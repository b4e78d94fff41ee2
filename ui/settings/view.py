"""The parts of the Settings page: workers, disk, samples, versions."""

from __future__ import annotations

import platform
import shutil
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import streamlit as st

import compression
from compression.data.samples import SAMPLES
from compression.importers.format import FORMATS
from compression.importers.kept import MOST_BYTES as MOST_BYTES_OF_LOOKS
from compression.running.step_cache import DEFAULT_LIMIT_BYTES, GB, MOST_BYTES, cache_bytes, evict
from compression.spec.errors import RecPressError
from compression.spec.method import METHODS
from compression.spec.records import SampleSpec
from compression.spec.runtime import RUNTIMES
from compression.spec.task import TASKS
from jobs.devices import cpu_count, visible_gpus
from jobs.limits import LIMITS
from jobs.records import CACHE_BYTES
from jobs.submit import submit
from storage.store import Store
from ui.shared.escape import escaped
from ui.shared.format import MISSING, ago, human_bytes, plural
from ui.shared.shell import draw_figures
from ui.shared.state import open_page, say_later
from ui.shared.table import draw_dataframe

PACKAGES = ("torch", "onnx", "onnxruntime-gpu", "onnxruntime", "streamlit", "sqlalchemy", "polars", "numpy")


@cache
def gpu_count() -> int:
    """CUDA devices this server sees; asked once, when it starts, because the driver's tool may take seconds."""
    return len(visible_gpus())


def draw_workers(store: Store) -> None:
    """Who does the work now, on which device."""
    workers = store.workers()
    alive = [one for one in workers if one.alive]
    gpus = gpu_count()
    draw_figures([
        ("Workers", f"{len(alive)}", "", "Processes that take jobs from the queue, one job at a time."),
        ("Processors", f"{cpu_count()}", "", "CPU cores this server may use."),
        ("GPUs", f"{gpus}" if gpus else "none", "", "CUDA devices this server sees.")])
    if workers:
        draw_dataframe([{"Worker": one.id, "Device": one.device, "State": "alive" if one.alive else "silent",
                       "Job": one.job, "Host": one.host.partition("/")[0], "Process": one.pid,
                       "Seen": ago(one.seen)} for one in workers], hide_index=True, placeholder=MISSING)
    else:
        st.warning("No worker has reported yet. The app starts one for each GPU, or one on a machine without; "
                   "more are started by hand.")
    st.caption("Another worker, on this machine or on one that reaches the same database and folder:")
    st.code("python -m jobs.worker", language="bash")


def draw_job_limits(store: Store) -> None:
    """When a job is ended that stands still or takes too long."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
        for limit in LIMITS:
            key = f"settings.{limit.key}"

            def keep(key: str = key, name: str = limit.key) -> None:
                store.set_setting(name, st.session_state[key])

            value = min(max(round(store.setting(limit.key, limit.default)), limit.lower), limit.upper)
            st.number_input(f"{limit.title}, in {limit.unit}", limit.lower, limit.upper, value=value, key=key,
                            on_change=keep, width=300, help=limit.help)


def draw_storage(store: Store) -> None:
    """What the home folder weighs and what can be let go."""
    sizes = folder_bytes(store.home)
    disk = shutil.disk_usage(store.home)
    draw_figures([
        ("Stored files", human_bytes(sizes.get("files", 0)), "",
         "Models, datasets and bundles; equal files are kept once."),
        ("Job folders and logs", human_bytes(sizes.get("jobs", 0)), "",
         "Kept for a week after a job has ended; logs stay as long as their job."),
        ("Free on the disk", human_bytes(disk.free), "", f"of {human_bytes(disk.total)}")])
    st.caption(f"Home folder: {escaped(store.home)} (RECPRESS_HOME). "
               f"Database: {escaped(store.database.address)} (DATABASE_URL). "
               f"Unfinished uploads: {human_bytes(sizes.get('uploads', 0))}, kept for a week. "
               f"Unpacked and converted uploads: {human_bytes(sizes.get('looks', 0))}, at most "
               f"{human_bytes(MOST_BYTES_OF_LOOKS)}, kept for the import and for binding again.")
    if st.button("Tidy up", help="Moves files aside that nothing names any more and that nobody touched for a "
                                      "day. They are deleted a week later, unless they are wanted again."):
        try:
            st.toast(f"{plural(store.sweep(), 'file')} moved aside, to be deleted in a week.")
        except RecPressError as error:
            st.error(escaped(error))
    _draw_step_cache(store)


def _draw_step_cache(store: Store) -> None:
    """What the cache of steps weighs, how much it may, and a button that empties it."""
    folder = store.home / "steps"
    limit = int(store.setting(CACHE_BYTES, DEFAULT_LIMIT_BYTES))

    def set_limit() -> None:
        chosen = int(st.session_state["settings.cache"] * GB)
        store.set_setting(CACHE_BYTES, chosen)
        evict(folder, chosen)

    st.markdown("**Cache of steps**", help="The model after each step that took its time, fine-tuning above all. Runs "
                                           "that begin with the same steps take them from here.")
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
        st.metric("Kept", human_bytes(cache_bytes(folder)), width="content",
                  help="Entries used longest ago go first when the limit is reached.")
        st.number_input("At most, in GB", 0, MOST_BYTES // GB, value=round(limit / GB), key="settings.cache",
                        on_change=set_limit, width=160, help="0 keeps no steps; every run computes all of its own.")
        if st.button("Empty the cache", help="Later runs compute their steps again; results stay as they are."):
            st.toast(f"{plural(evict(folder, 0), 'entry', 'entries')} deleted.")
            st.rerun()


@st.cache_data(ttl=30, show_spinner=False)
def _sizes(home: str) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in Path(home).iterdir():
        files = [part] if part.is_file() else part.rglob("*")
        weight = 0
        for file in files:
            try:
                weight += file.stat().st_size if file.is_file() else 0
            except FileNotFoundError:
                continue  # a job has just tidied up
        total[part.name] = weight
    return total


def folder_bytes(home: Path) -> dict[str, int]:
    """Bytes of each entry of the home folder, at most half a minute old."""
    return _sizes(str(home))


def draw_samples(store: Store) -> None:
    """The samples, each with its terms and a button."""
    for sample in SAMPLES.values():
        left, right = st.columns([4, 1], vertical_alignment="center", gap="medium")
        with left:
            st.markdown(f"**{sample.title}.** {sample.summary}")
            st.caption(f"Terms: {sample.terms} Source: {sample.source}.")
        with right:
            if st.button("Fetch", key=f"settings.fetch.{sample.key}", help="Adds it to Datasets."):
                try:
                    submit(store, SampleSpec(sample=sample.key), name=f"Sample {sample.title}")
                except RecPressError as error:
                    st.error(escaped(error))
                else:
                    say_later(f"{sample.title} is on its way.")
                    open_page("datasets")


def draw_plug_ins() -> None:
    """What other packages bring and can't be used, by name; nothing where all of it can."""
    for registry in (METHODS, TASKS, RUNTIMES, FORMATS):
        for problem in registry.problems:
            st.warning(escaped(problem))


def draw_versions() -> None:
    """What this installation is made of; for a report of a problem."""
    rows = [{"What": "RecPress", "Version": compression.__version__},
            {"What": "Python", "Version": sys.version.split()[0]},
            {"What": "System", "Version": f"{platform.system()} {platform.release()}, {platform.machine()}"}]
    rows += [{"What": name, "Version": found} for name in PACKAGES if (found := _version(name)) != MISSING]
    draw_dataframe(rows, hide_index=True)


def _version(package: str) -> str:
    """The installed version, read without importing the package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return MISSING
