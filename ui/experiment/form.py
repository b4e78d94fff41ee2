"""The parts of the Experiment page: what to compress, for which target, and the runs about to be queued."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import streamlit as st

from compression.spec.errors import RecipeError, RecPressError
from compression.spec.link import pack, unpack
from compression.spec.recipe import check, estimate, without_training_rows
from compression.spec.records import GraphOptimization, ModelDescription, Recipe, RunSpec, Target
from compression.spec.registry import STORED
from compression.spec.runtime import DEFAULT_RUNTIME, RUNTIMES
from compression.spec.signature import Signature
from compression.tasks.units import human_bytes
from jobs.submit import submit_many
from storage.records import DataRow, ModelRow
from storage.store import Store
from ui.experiment.recipe_editor import draw_recipe_editor, draw_size, edited_steps, recipe_of, set_steps
from ui.experiment.recipe_share import SEED, draw_share, load_into_editor
from ui.experiment.sweep import draw_sweep, expand
from ui.shared.escape import escaped
from ui.shared.format import plural
from ui.shared.state import open_page, query_int, query_text, say_later, set_query
from ui.shared.table import draw_dataframe

BATCHES = (1, 16, 64, 256, 512, 1024, 4096)
ADDRESS = ("clone", "model", "data", "recipe", "target", "parent")
LOADED = "experiment.loaded"  # the address that is in the form already
MOVED = "experiment.moved"
PARENT = "experiment.parent"
LINK_PROBLEM = "experiment.link_problem"  # what of a shared link could not be taken
# the review stays in sight while the steps scroll
STICKY = "<style>.st-key-review { position: sticky; top: 4.25rem; }</style>"


def load_from_url(store: Store) -> None:
    """Fill the form from `?clone=ID` or `?model=…&data=…&recipe=…&target=…&parent=…`, once for each address.

    An address that this page wrote is in the form already; Back, a reload and a link bring another one. Who comes back
    from another page without an address finds the form as it was.
    """
    link = {key: query_text(key) for key in ADDRESS}
    last = st.session_state.get(LOADED)
    moved = st.session_state.pop(MOVED, False) and last is not None
    forgotten = SEED not in st.session_state  # Streamlit drops the widgets of a page that was left
    if not forgotten and (last == link or moved):
        return
    st.session_state[LOADED], st.session_state[LINK_PROBLEM] = link, ""
    if forgotten and last is not None and not any(link.values()):
        link = last
    if link["clone"] is None:
        _start_at(link["model"], link["data"])
        if link["recipe"]:
            _load_shared(store, link)
        return
    clone = query_int("clone")
    try:
        job = store.job(clone) if clone is not None else None
    except RecPressError as error:
        st.error(escaped(error))
        return
    if job is None or not isinstance(job.spec, RunSpec):
        st.error(f"Job {link['clone'][:20]} is not a run; only a run's recipe can be cloned.")
        return
    _start_at(job.spec.model, job.spec.data)
    _start_target(job.spec.target)
    set_steps(job.spec.recipe.steps)
    st.session_state[SEED] = job.spec.recipe.seed
    st.session_state[PARENT] = clone
    st.session_state["experiment.name"] = ""


def _load_shared(store: Store, link: dict[str, str | None]) -> None:
    """Recipe, target and parent of a link into the form; says what of the link is not here."""
    try:
        load_into_editor(unpack(link["recipe"]))
        _start_target(parse_target(link["target"]))
    except RecipeError as error:
        st.session_state[LINK_PROBLEM] = str(error)
        return
    st.session_state[PARENT] = _existing_run(store, link["parent"])
    missing = [what for what, key, rows in (("model", link["model"], store.models()),
                                            ("dataset", link["data"], store.datasets()))
               if key and key not in {row.id for row in rows}]
    if missing:
        which = f"The {missing[0]} of this link is" if len(missing) == 1 else "Model and dataset of this link are"
        st.session_state[LINK_PROBLEM] = f"{which} not here; the recipe is. Choose what to try it on."


def _existing_run(store: Store, run: str | None) -> int | None:
    try:
        return None if run is None else store.job(int(run)).id
    except (RecPressError, ValueError):
        return None


def write_address(recipe: Recipe, model: ModelRow, data: DataRow, target: Target) -> str:
    """Let the address follow the form, so that a reload keeps it; gives what of it doesn't fit, "" for nothing."""
    parent = st.session_state.get(PARENT)
    try:
        token, problem = pack(recipe), ""
    except RecipeError as error:
        token, problem = None, f"A reload would lose this recipe. {error}"
    link = {"clone": None, "model": model.id, "data": data.id, "recipe": token, "target": target_text(target),
            "parent": None if parent is None else str(parent)}
    if link != st.session_state.get(LOADED):
        set_query(**link)
        st.session_state[LOADED] = link
    return problem


def target_text(target: Target) -> str | None:
    """A target as an address has it: "cpu.2.1-512.all", with ".RUNTIME" where it is another than the default one.

    None for the target that everybody starts with.
    """
    if target == Target():
        return None
    text = f"{target.device}.{target.threads}.{'-'.join(map(str, target.batch_sizes))}.{target.graph_optimization}"
    return text if target.runtime == DEFAULT_RUNTIME else f"{text}.{target.runtime}"


def parse_target(text: str | None) -> Target:
    """The target of an address. Raises RecipeError for what is none."""
    if text is None:
        return Target()
    device, threads, batches, level, runtime = (*text.split(".", 4), "", "", "", "")[:5]
    try:
        return Target(device=device, threads=threads, batch_sizes=tuple(batches.split("-")), graph_optimization=level,
                      runtime=runtime or DEFAULT_RUNTIME)
    except ValueError:
        raise RecipeError("The target in this link can't be read; the target you had is kept.") from None


def _start_at(model: str | None, data: str | None) -> None:
    for key, value in (("experiment.model", model), ("experiment.data", data)):
        if value:
            st.session_state[key] = value
    if model and data:
        st.session_state["experiment.data_of"] = model  # this dataset was chosen for this model


def _start_target(target: Target) -> None:
    st.session_state.update({"experiment.device": target.device, "experiment.threads": target.threads,
                             "experiment.batches": list(target.batch_sizes),
                             "experiment.optimization": target.graph_optimization,
                             "experiment.runtime": target.runtime})


def _moved() -> None:
    # the form is newer than the address the browser sent along
    st.session_state[MOVED] = True


def choose_subject(models: Sequence[ModelRow], datasets: Sequence[DataRow]) -> tuple[ModelRow, DataRow, Target]:
    """① Model × dataset × target, side by side."""
    by_model, by_data = {row.id: row for row in models}, {row.id: row for row in datasets}
    across = st.columns([1, 1, 1], gap="medium", vertical_alignment="bottom")
    with across[0]:
        _keep("experiment.model", by_model, models[0].id)
        model = by_model[st.selectbox("Model", list(by_model), key="experiment.model", on_change=_moved,
                                      format_func=lambda key: f"{by_model[key].name} · "
                                                              f"{human_bytes(by_model[key].description.size_bytes)}")]
    with across[1]:
        # a dataset chosen for another model gives way to the one this model was trained on
        if st.session_state.get("experiment.data_of") != model.id:
            if st.session_state.get("experiment.data_of") is not None:
                st.session_state.pop("experiment.data", None)
            st.session_state["experiment.data_of"] = model.id
        _keep("experiment.data", by_data, model.data if model.data in by_data else datasets[0].id)
        data = by_data[st.selectbox("Dataset", list(by_data), key="experiment.data", on_change=_moved,
                                    format_func=lambda key: by_data[key].name)]
    with across[2]:
        target = _choose_target()
    return model, data, target


def _keep(key: str, options: dict, default: str) -> None:
    """Keep what the person chose (over a change of page too) while it exists; else start at the default."""
    if st.session_state.get(key) not in options:
        st.session_state[key] = default
    st.session_state[key] = st.session_state[key]


def _choose_target() -> Target:
    start = Target()
    for key, value in (("device", start.device), ("threads", start.threads), ("batches", list(start.batch_sizes)),
                       ("optimization", start.graph_optimization), ("runtime", start.runtime)):
        st.session_state[f"experiment.{key}"] = st.session_state.get(f"experiment.{key}", value)
    batches = st.session_state["experiment.batches"]
    threads = plural(st.session_state["experiment.threads"], "thread")
    if (gone := st.session_state["experiment.runtime"]) not in RUNTIMES:  # of a run that is tried again
        st.session_state["experiment.runtime"] = DEFAULT_RUNTIME
        st.warning(f"The runtime {escaped(repr(gone))} isn't installed any more: {RUNTIMES[DEFAULT_RUNTIME].title} is "
                   "chosen. Install the package that brought it.")
    runtime = RUNTIMES[st.session_state["experiment.runtime"]]
    if st.session_state["experiment.device"] not in runtime.devices:
        st.session_state["experiment.device"] = runtime.devices[0]
    label = (f"Target: {st.session_state['experiment.device'].upper()}, {threads}, "
             f"batch {' and '.join(map(str, batches)) or '—'}")
    with st.popover(label, width="stretch", help="Where the exported file has to be fast."):
        if len(RUNTIMES) > 1:
            st.selectbox("Runtime", list(RUNTIMES), key="experiment.runtime", on_change=_moved,
                         format_func=lambda key: RUNTIMES[key].title, help="What runs the exported file.")
        device = st.segmented_control("Device", runtime.devices, key="experiment.device", required=True,
                                      on_change=_moved, format_func=str.upper,
                                      help="CUDA runs wait for a worker with a GPU.")
        threads = st.number_input("Threads", 1, 64, key="experiment.threads", on_change=_moved,
                                  help="CPU threads the runtime may use for one request.")
        st.multiselect("Batch sizes", sorted({*BATCHES, *map(int, batches)}), key="experiment.batches",
                       max_selections=4, on_change=_moved,
                       help="Rows scored in one request; latency is measured at each.")
        level = st.selectbox("Graph optimisation", get_args(GraphOptimization), key="experiment.optimization",
                             on_change=_moved, format_func=str.capitalize,
                             help="How far the runtime rewrites the graph when it loads the file: fused operators "
                                  "need Extended, layouts All. Measured, checked and shipped alike.")
    chosen = tuple(sorted({int(batch) for batch in st.session_state["experiment.batches"]}))
    return Target(device=device or runtime.devices[0], threads=threads, batch_sizes=chosen or start.batch_sizes,
                  graph_optimization=level, runtime=runtime.key)


def missing_columns(model: ModelRow, data: DataRow) -> list[str]:
    """Columns the model reads and the dataset lacks."""
    has = {column.name for column in data.description.columns}
    signature = Signature.model_validate(model.description.signature, context=STORED)
    return [one.column for one in signature.singles if one.column not in has]


@st.fragment
def draw_recipe_and_review(store: Store, model: ModelRow, data: DataRow, target: Target) -> None:
    """② the recipe beside ③ its size, a sweep and the one button. A slider reruns this part alone."""
    st.html(STICKY)
    left, right = st.columns([1.9, 1], gap="large")
    with left:
        st.header("Recipe", anchor=False)
        if st.session_state.get(LINK_PROBLEM):
            st.warning(escaped(st.session_state[LINK_PROBLEM]))
        draw_recipe_editor(model.description)
    with right, st.container(key="review", border=True):
        recipe = recipe_of(edited_steps(), name=st.session_state.get("experiment.name", "").strip(),
                           seed=int(st.session_state.setdefault(SEED, 0)))
        draw_size(model.description, recipe)
        name, seed = st.columns([2.6, 1], gap="small")
        name.text_input("Name", key="experiment.name", placeholder=recipe.name, max_chars=120)
        seed.number_input("Seed", 0, 2**31 - 1, key=SEED, step=1,
                          help="Every random draw of the steps follows from it: the same seed, the same model.")
        with st.expander("Sweep: try several values at once"):
            axes = draw_sweep(recipe)
        problem, recipes = _planned(recipe, axes, model, data)
        if problem:
            st.error(escaped(problem))
        elif len(recipes) > 1:
            _draw_plan(recipes, model.description)
        label = "Queue run" if len(recipes) < 2 else f"Queue {len(recipes)} runs"
        if st.button(label, type="primary", disabled=bool(problem), width="stretch"):
            _queue(store, recipes, model, data, target)
        parent = st.session_state.get(PARENT)
        st.caption(escaped(f"{model.name} × {data.name}") + (f" · cloned from run {parent}" if parent else ""))
        draw_share(recipe, model=model.id, data=data.id)
        if unkept := write_address(recipe, model, data, target):
            st.caption(unkept)


def _planned(recipe: Recipe, axes: list, model: ModelRow, data: DataRow) -> tuple[str, list[Recipe]]:
    """The recipes to queue, or the sentence that says why not."""
    missing = missing_columns(model, data)
    if missing:
        return (f"{model.name} reads {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}, which {data.name} "
                "doesn't have. Choose the dataset the model was trained on.", [])
    errors = [problem for problem in check(recipe) if problem.severity == "error"]
    if errors:
        return f"Fix step {errors[0].step + 1} first.", []
    if data.description.is_test_only and (problem := without_training_rows(recipe, data.name)):
        return problem, []
    try:
        return "", expand(recipe, axes)
    except RecipeError as error:
        return str(error), []


def _draw_plan(recipes: list[Recipe], description: ModelDescription) -> None:
    sizes = [estimate(description, one).size_bytes for one in recipes]
    draw_dataframe({"Run": [one.name for one in recipes], "Size": [human_bytes(size) for size in sizes]},
                 hide_index=True, height=min(38 + 35 * len(recipes), 220))


def _queue(store: Store, recipes: list[Recipe], model: ModelRow, data: DataRow, target: Target) -> None:
    specs = [(one.name, RunSpec(model=model.id, data=data.id, recipe=one, target=target)) for one in recipes]
    try:
        submit_many(store, specs, parent=st.session_state.get(PARENT))
    except RecPressError as error:
        st.error(escaped(error))
        return
    st.session_state.pop(PARENT, None)
    st.session_state[LOADED] = {**st.session_state[LOADED], "parent": None}  # the next run is no clone of it
    say_later(f"Queued {recipes[0].name}." if len(recipes) == 1 else f"Queued {len(recipes)} runs.")
    open_page("runs")
