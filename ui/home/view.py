"""The parts of the Home page: what this is, the sample, what runs, and the best trade-off of each project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import streamlit as st

from compression.data.samples import SAMPLES
from compression.models.zoo import ARCHITECTURES
from compression.spec.errors import RecPressError
from compression.spec.records import SampleSpec
from compression.tasks.units import target_words
from jobs.submit import submit
from storage.records import ModelRow, Project
from storage.store import Store
from ui.compare.data import project_points, recommended, revision
from ui.compare.state import View
from ui.experiment.form import missing_columns
from ui.shared.escape import escaped
from ui.shared.failures import warn_without_worker
from ui.shared.format import ago, human_bytes, plural
from ui.shared.live import draw_active
from ui.shared.shell import empty_state, page_title
from ui.shared.state import open_page
from ui.shared.suggested_runs import queue_suggested, suggested_recipes
from ui.shared.tasks import task_of

PREPARING = ("sample", "train", "import_data", "import_model")
REFERENCE = ("deepfm", "dcnv2", "dlrm", "widedeep")


@dataclass(frozen=True)
class Situation:
    """What Home has to show: the step of the main path a person stands at."""

    kind: Literal["empty", "preparing", "needs_data", "needs_model", "needs_runs", "filled"]
    model: ModelRow | None = None  # the newest that can be measured
    data: str | None = None
    projects: tuple[Project, ...] = ()


def situation(store: Store) -> Situation:
    """Look at the store once and say where on the path from sample to trade-off a person stands."""
    projects = tuple(store.projects(limit=12))
    if projects:
        return Situation("filled", projects=projects)
    models, datasets = store.models(limit=50), store.datasets(limit=50)
    if store.jobs(states=["queued", "running"], kinds=PREPARING, per_page=1).total:
        return Situation("preparing", data=datasets[0].id if datasets else None)
    by_id = {row.id: row for row in datasets}
    ready = next((row for row in models if row.data in by_id and not missing_columns(row, by_id[row.data])), None)
    if ready is not None:
        return Situation("needs_runs", model=ready, data=ready.data)
    if datasets:
        return Situation("needs_model", data=datasets[0].id)
    return Situation("needs_data" if models else "empty")


def draw_start(store: Store) -> None:
    """An empty database: three lines, the sample, and the way for one's own files."""
    page_title("How small can your model get?")
    st.markdown(
        "RecPress shrinks search and recommender models and measures what each step costs.  \n"
        "Bring a model and its data, put a recipe together with sliders, and queue it.  \n"
        "Quality, size and speed are read off the exported file, and the best trade-off is yours to download.")
    with st.container(horizontal=True, gap="small"):
        started = st.button("Try it with a sample", type="primary", key="home.sample.start",
                            help="Fetches the data, trains the reference model and shows the progress.")
        if st.button("Bring your own", help="Upload a CSV, TSV or Parquet file; then a model, or train one here."):
            open_page("datasets", add="upload")
    sample, architecture = _choose_sample()
    if started:
        _submit(store, SampleSpec(sample=sample, architecture=architecture))


def _choose_sample() -> tuple[str, str]:
    """The sample and its reference model, folded away with their defaults on the fold."""
    now = SAMPLES[st.session_state.get("home.sample", next(iter(SAMPLES)))]
    model = ARCHITECTURES[st.session_state.get("home.architecture", REFERENCE[0])]
    with st.expander(f"Sample: {now.title} with {model.title}", key="home.choice"):
        left, right = st.columns(2, gap="large")
        with left:
            sample = SAMPLES[st.radio("Sample", list(SAMPLES), key="home.sample",
                                      format_func=lambda key: SAMPLES[key].title)]
            st.caption(sample.summary)
        with right:
            architecture = st.radio("Reference model", REFERENCE, key="home.architecture",
                                    format_func=lambda key: ARCHITECTURES[key].title)
            st.caption(f"{ARCHITECTURES[architecture].summary} {ARCHITECTURES[architecture].source}.")
        st.caption(f"**Terms.** {sample.terms}  \n**Source.** {sample.source}.")
    return sample.key, architecture


def _submit(store: Store, spec: SampleSpec) -> None:
    try:
        submit(store, spec, name=f"Sample {SAMPLES[spec.sample].title}")
    except RecPressError as error:
        st.error(escaped(error))
    else:
        st.rerun()


def draw_preparing(store: Store, data: str | None) -> None:
    """The sample is on its way: which step, how far, how long."""
    page_title("Getting ready", "The first trade-off needs a dataset and a trained model. This page follows them.")
    steps = ("Dataset", "Reference model", "Runs")
    reached = 1 if data else 0
    st.markdown("  →  ".join(f":green[✓ {step}]" if index < reached else f"**{index + 1} {step}**"
                             if index == reached else f":gray[{index + 1} {step}]"
                             for index, step in enumerate(steps)))
    draw_active(store)
    warn_without_worker(store)


def draw_needs_runs(store: Store, model: ModelRow, data: str) -> None:
    """Model and data are there: one button to a first plot."""
    recipes = suggested_recipes(model, store.dataset(data))
    page_title("Ready for the first runs", f"{model.name}: {human_bytes(model.description.size_bytes)} to shrink.")
    st.markdown(f"{plural(len(recipes), 'suggested run')} give a first trade-off plot:")
    st.markdown("\n".join(f"- **{name}.** {why}" for name, _, why in recipes))
    with st.container(horizontal=True, gap="small"):
        if st.button("Queue suggested runs", type="primary"):
            queue_suggested(store, model, store.dataset(data))
        if st.button("Build my own recipe"):
            open_page("experiment", model=model.id, data=data)
        if st.button("Look at the model"):
            open_page("models", id=model.id)


def draw_needs_model(data: str) -> None:
    """A dataset and no model bound to it."""
    page_title("One step to go")
    empty_state("A model is missing",
                "Train a reference model on your data here, or upload the one you want to shrink.")
    with st.container(horizontal=True, gap="small"):
        if st.button("Train a reference model", type="primary"):
            open_page("models", add="train", data=data)
        if st.button("Upload a model"):
            open_page("models", add="upload", data=data)


def draw_needs_data() -> None:
    """A model and no dataset to measure it on."""
    page_title("One step to go")
    empty_state("A dataset is missing", "Quality and latency are measured on rows of your own: add the data the model "
                                        "was made for.")
    if st.button("Add a dataset", type="primary"):
        open_page("datasets", add="upload")


def draw_projects(store: Store, projects: tuple[Project, ...]) -> None:
    """Every project with its best trade-off, newest first; above them what runs now."""
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        page_title("Projects", "A project is a model, a dataset and the machine it has to be fast on.")
    with right, st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("New experiment", type="primary"):
            open_page("experiment")
    draw_active(store)
    warn_without_worker(store)
    failed = store.jobs(states=["failed"], kinds=["run"], per_page=1)
    if failed.total and st.button(f"{plural(failed.total, 'run')} failed: see why", type="tertiary"):
        open_page("runs", state="failed")
    for project in projects:
        _draw_project(store, project)


def _draw_project(store: Store, project: Project) -> None:
    with st.container(border=True):
        text, actions = st.columns([3.2, 1], vertical_alignment="center")
        with text:
            st.header(escaped(project.model_name), anchor=False)
            st.markdown(f":gray[{escaped(project_words(project))}]")
            st.markdown(best_words(store, project))
        with actions, st.container(horizontal=True, horizontal_alignment="right", gap="small"):
            if st.button("Compare", key=f"compare.{project.key}", disabled=not project.runs):
                open_page("compare", project=project.key)
            if st.button("New run", key=f"new.{project.key}"):
                open_page("experiment", model=project.model, data=project.data)


def project_words(project: Project) -> str:
    """ "Clicks, CPU, 1 thread, batch 1 and 512, 7 runs, 2 active, newest 5 min ago" with dots between."""
    batches = " and ".join(f"{size:,}" for size in project.target.batch_sizes)
    told = [project.data_name, f"{', '.join(target_words(project.target))}, batch {batches}",
            plural(project.runs, "run")]
    if project.active:
        told.append(f"{project.active} active")
    return " · ".join([*told, f"newest {ago(project.last)}"])


def best_words(store: Store, project: Project) -> str:
    """The run that Compare recommends for the project, in the same words; or why there is none yet."""
    if not project.runs:
        return "No finished run yet."
    of = revision(store, project)
    limits = View().limits(project.target, task_of(store, project.data))
    found = recommended(project_points(store, project, of), of, limits)
    return f"**Recommended** · {escaped(found.why)}" if found.winner else escaped(found.why)
