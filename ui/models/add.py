"""Adding a model: upload one, look at it, bind its inputs to a dataset's columns, check, import. Or bind it again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import streamlit as st

from compression.importers.binding.table import propose_lines
from compression.importers.format import formats_in_words, formats_of
from compression.importers.inspection import Look
from compression.spec.errors import RecPressError
from compression.spec.records import ImportModelSpec
from jobs.submit import submit
from storage.records import DataRow
from storage.store import Store
from ui.datasets.view import summary_of
from ui.models.binding_form import Filled, draw_binding, draw_score
from ui.models.inspection import inspected
from ui.models.own_bundle import draw_own_bundle
from ui.shared.dataset_choice import choose_data
from ui.shared.escape import escaped
from ui.shared.shell import draw_back, page_title
from ui.shared.state import open_page, query_int, query_text
from ui.shared.uploader import clear_uploader, uploader

UPLOAD = "models.upload"
MOST_RANKED = 30  # datasets that are looked at for how well they fit


@dataclass(frozen=True)
class Brought:
    """What is to be imported: files (name → digest), and what is known of it from an import before."""

    files: dict[str, str] = field(default_factory=dict)
    name: str = ""
    data: str = ""
    binding: dict[str, Any] = field(default_factory=dict)
    replaces: str | None = None  # the stored model whose binding is changed


def draw_upload(store: Store) -> None:
    """Files, a name, the dataset whose columns the inputs read; then a job checks and stores them."""
    before = brought_before(store)
    if before is None:
        draw_back("All models", "models")
        page_title("Upload a model", "It is read in a process of its own; nothing in an upload is ever run.")
        files = uploader("Model files", kind="model", key=UPLOAD)
        if not files:
            st.caption(escaped(f"{' · '.join(formats_in_words())}. Config and mapping files may come beside weights."))
            return
        brought = Brought({one.name: one.digest for one in files}, suggested_name([one.name for one in files]))
    else:
        draw_back("All models", "models")
        page_title(f"Bind {before.name} again", "The files are those you uploaded; choose what each input reads.")
        brought = before
    look = inspected(store, brought.files)
    if look is not None and look.lacks_bundle:
        files = draw_own_bundle(store, brought.files, key=_key_of(brought))
        if files != brought.files:
            brought = replace(brought, files=files, binding={})
            look = inspected(store, files)
    if look is not None:
        _draw_form(store, brought, look)


def brought_before(store: Store) -> Brought | None:
    """The upload of a stored model (`?model=`) or of an import that failed (`?job=`), to be bound again."""
    try:
        if query_text("model"):
            row = store.model(query_text("model"))
            if row.notes.get("upload"):
                return Brought(row.notes["upload"], row.name, row.data or "", row.notes.get("binding") or {},
                               replaces=row.id)
        if query_int("job") is not None:
            spec = store.job(query_int("job")).spec
            if isinstance(spec, ImportModelSpec) and all(map(store.files.has, spec.files.values())):
                return Brought(spec.files, spec.name, spec.data or "", spec.binding)
    except RecPressError:
        pass
    return None


def _draw_form(store: Store, brought: Brought, look: Look) -> None:
    key = _key_of(brought)
    datasets = fitting_first(store.datasets(), look)
    left, right = st.columns(2, gap="medium")
    with left:
        name = st.text_input("Name", value=brought.name, key=f"{key}.name", max_chars=200)
    with right:
        data = choose_data(datasets, "Dataset it was made for", f"{key}.data", optional=True, start=brought.data)
    row = next((one for one in datasets if one.id == data), None)
    score = draw_score(look, key=key, saved=brought.binding)
    if row is None:
        filled = Filled()
        st.caption("Without a dataset its inputs are bound to columns of the same names, and no quality is measured."
                   if look.inputs else "Without a dataset no quality is measured.")
    elif look.inputs:
        saved = brought.binding if data == brought.data or not brought.data else {}
        filled = draw_binding(store, look, row, key=key, saved=saved)
    else:
        filled = Filled(problem=missing_words(look.reads, row))
        if filled.problem:
            st.warning(escaped(filled.problem))
        elif look.reads:
            st.caption(f"Its own signature says what it reads, and {escaped(row.name)} has all of it.")
    filled = Filled(filled.binding | score.binding, filled.problem or score.problem)
    if score.problem:
        st.caption(escaped(score.problem))
    label = "Import it again" if brought.replaces else "Import the model"
    if st.button(label, type="primary", disabled=bool(filled.problem) or not name.strip()):
        _queue(store, ImportModelSpec(files=brought.files, name=name, data=data or None, binding=filled.binding,
                                      replaces=brought.replaces))


def _key_of(brought: Brought) -> str:
    return f"{UPLOAD}.{'.'.join(sorted(digest[:8] for digest in brought.files.values()))}"


def suggested_name(names: list[str]) -> str:
    """The name of the file that holds the model, without its ending."""
    first = next((name for name in names if formats_of(name)), names[0])
    return first.rsplit(".", 1)[0]


def missing_words(reads: tuple[str, ...], data: DataRow) -> str:
    """Which columns the chosen dataset lacks for a model that names them, as a sentence; "" when it has them all."""
    has = {column.name for column in data.description.columns}
    lacks = [name for name in reads if name not in has]
    if not lacks:
        return ""
    shown = ", ".join(lacks[:6]) + (f" and {len(lacks) - 6} more" if len(lacks) > 6 else "")
    return (f"{data.name} lacks columns this model reads: {shown}. Choose the dataset it was made for, "
            "or none for now.")


def fitting_first(datasets: list[DataRow], look: Look) -> list[DataRow]:
    """Datasets that have a column for every input before the others, so that the first is a sensible start."""

    def unbound(row: DataRow) -> bool:
        if look.inputs:
            return any(line.column is None for line in propose_lines(look, row.description, summary_of(row)))
        return bool(missing_words(look.reads, row))

    return [*sorted(datasets[:MOST_RANKED], key=unbound), *datasets[MOST_RANKED:]]


def _queue(store: Store, spec: ImportModelSpec) -> None:
    try:
        job = submit(store, spec, name=f"Import {spec.name}")
    except RecPressError as error:
        st.error(escaped(error))
        return
    clear_uploader(UPLOAD)
    open_page("models", job=job)
