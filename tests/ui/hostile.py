"""A home where every text that people or files give is hostile, and a search of pages for what they show of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from streamlit.testing.v1 import AppTest

from compression.data.summary import ColumnSummary, DataSummary, Leakage, ProfilePoint, ValueCount
from compression.spec.data_description import Column, DataDescription, Label, Role
from compression.spec.records import Failure, ImportDataSpec, ModelDescription, Progress, Question, Recipe, RunSpec
from compression.spec.signature import Input, Signature
from storage.access import LOCAL_ACCESS
from storage.records import NewData, NewModel
from storage.store import Store, open_store
from tests.ui.filled import RECIPES, WORKER, description, finish_next, spec_of

ELSEWHERE = "evil.example"
TEXT = (f"=1 ![i](http://{ELSEWHERE}/i.png) [l](http://{ELSEWHERE}) http://{ELSEWHERE} https://{ELSEWHERE} "
        f"www.{ELSEWHERE} a@{ELSEWHERE} :material/home: :red[x] :smile: $x^2$ `c` "
        f"<img src=http://{ELSEWHERE}/j.png> <a href=//x>y</a>")
SHORT = f"=![i](http://{ELSEWHERE}/k.png) www.{ELSEWHERE} <a href='http://{ELSEWHERE}'>z</a> :red[x]"
# what Streamlit's markdown would make something of
LIVE = re.compile(rf"(?<!\\)!\[|https?://{ELSEWHERE}|www\.{ELSEWHERE}|@{ELSEWHERE}|:material/|(?<!\\)\[l\]|:smile:|:red\["
                  r"|(?<!\\)\$x|(?<!\\)`c|(?<!\\)<img|(?<!\\)<a href=(?://x|'http)")
# where text is shown as it stands: choices of select boxes, values of inputs, code, addresses, descriptions for readers
PLAIN = {("Selectbox", "options"), ("Selectbox", "raw_value"), ("Selectbox", "placeholder"), ("MultiSelect", "options"),
         ("MultiSelect", "raw_values"), ("TextInput", "default"), ("TextInput", "value"), ("TextInput", "placeholder"),
         ("TextArea", "default"), ("TextArea", "value"), ("Code", "code_text"), ("DownloadButton", "url"),
         ("PlotlyChart", "spec")}  # labels of figures have a test of their own
PLAIN_ENDINGS = ("id", "form_id", "alt", "key", "query_string", "query_params", "page_script_hash", "element_hash")


def hostile_home(folder: Path) -> dict[str, Any]:
    """Fill a fresh home with hostile texts; gives what addresses need."""
    store = open_store(LOCAL_ACCESS, url=f"sqlite:///{folder / 'recpress.db'}", root=folder)
    found = _fill(store)
    store.close()
    return found


def _fill(store: Store) -> dict[str, Any]:
    def put(text: str) -> str:
        return store.files.put_bytes(text.encode())

    columns = {TEXT: Role.USER, f"item {SHORT}": Role.ITEM, f"genre {SHORT}": Role.CATEGORY,
               f"clicked {SHORT}": Role.LABEL}
    described = DataDescription(name=TEXT[:200], files={"all": "clicks.csv"}, label=Label(column=f"clicked {SHORT}"),
                                columns=tuple(Column(name=name, role=role) for name, role in columns.items()),
                                terms=TEXT)
    data = store.add_dataset(NewData(name=SHORT, manifest={"data.yaml": put("data")}, description=described,
                                     summary=_summary(columns)))
    plain = description()
    layers = tuple(one.model_copy(update={"name": f"{one.name} {SHORT}", "field": one.field and f"{one.field} {SHORT}"})
                   for one in plain.layers)
    names = [name for name, role in columns.items() if role is not Role.LABEL]
    signature = Signature(inputs=tuple(Input(name=f"in {name}", kind="category", column=name, cardinality=19)
                                       for name in names))
    model = store.add_model(NewModel(
        name=SHORT, architecture="deepfm", origin="uploaded", data=data, manifest={"config.json": put("model")},
        description=ModelDescription(**{**plain.model_dump(), "layers": layers, "notes": (TEXT,), "questions": (
            Question(key=SHORT, text=TEXT, answer=SHORT, choices=(SHORT, "b")),),
            "signature": signature.model_dump(mode="json")}),
        notes={SHORT: TEXT, f"rows {SHORT}": [{SHORT: TEXT}], "upload": {"config.json": put("model")},
               "first_look": {"rows": 10, "lines": [], "hints": [TEXT], "problem": ""}}))
    jobs = []
    for steps, size, loss, ratio in list(RECIPES.values())[:3]:
        spec = spec_of(model, data, steps)
        store.submit(spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"name": SHORT})}), name=SHORT)
        jobs.append(finish_next(store, size, loss, ratio))
    failed = []
    for spec in (RunSpec(model=model, data=data, recipe=Recipe(name=TEXT, seed=9)),
                 ImportDataSpec(files={"a.csv": put("a")}, name=TEXT, description={})):
        store.submit(spec, name=SHORT)
        job = store.claim(WORKER, "cpu")
        store.fail(job.id, WORKER, Failure(kind="ModelError", message=TEXT, next_step=TEXT), attempt=job.attempt)
        failed.append(job.id)
    active = store.submit(RunSpec(model=model, data=data, recipe=Recipe(name=TEXT, seed=10)), name=SHORT)
    job = store.claim(WORKER, "cpu")
    store.heartbeat(job.id, WORKER, Progress(stage=TEXT, message=TEXT, unit=SHORT, done=1, total=2),
                    attempt=job.attempt)
    store.submit(RunSpec(model=model, data=data, recipe=Recipe(name=TEXT, seed=11)), name=SHORT)
    comparison = store.save_comparison(SHORT, jobs)
    return {"model": model, "data": data, "runs": jobs, "failed": failed, "active": active, "comparison": comparison}


def _summary(columns: dict[str, Role]) -> dict[str, Any]:
    """Drift, unknown values and leakage in every column, so that each name is in a sentence."""
    known = [ColumnSummary(name=name, role=role, cardinality=30, missing=0, drift=0.9, unknown_share=0.9,
                           frequent=(ValueCount(value=TEXT, count=3),),
                           profile=(ProfilePoint(rank=1, count=9, share=0.5), ProfilePoint(rank=9, count=1, share=1.0)))
             for name, role in columns.items()]
    return DataSummary(name=TEXT, rows={"train": 10, "test": 5}, label_rate={"train": 0.2, "test": 0.6},
                       columns=tuple(known), preview_columns=tuple(columns),
                       preview=(tuple(TEXT for _ in columns),), leakage=Leakage(telling=tuple(columns))
                       ).model_dump(mode="json")


def shown_live(app: AppTest) -> list[str]:
    """Texts of a page that markdown would make an image, a link, an icon, a colour or a formula of."""
    return [f"{place}: {text[:120]}" for place, text in _texts(app._tree) if LIVE.search(text)]


def escaped_twice(app: AppTest) -> list[str]:
    """Texts of a page that show a backslash: nobody wrote one, so it comes from escaping what was escaped already.

    The settings of columns are JSON, which doubles every backslash of its own.
    """
    return [f"{place}: {text[:120]}" for place, text in _texts(app._tree)
            if ("\\\\\\\\" if place.endswith(".columns") else "\\\\") in text]


def _texts(node: Any) -> Iterator[tuple[str, str]]:
    proto = getattr(node, "proto", None)
    if isinstance(proto, Message):
        yield from _strings(proto, type(node).__name__)
    for child in getattr(node, "children", {}).values():
        yield from _texts(child)


def _strings(message: Message, place: str) -> Iterator[tuple[str, str]]:
    kind = message.DESCRIPTOR.name
    for field, value in message.ListFields():
        many = value if field.is_repeated else [value]
        if field.type == FieldDescriptor.TYPE_MESSAGE and not field.message_type.GetOptions().map_entry:
            for one in many:
                yield from _strings(one, place)
        elif field.type == FieldDescriptor.TYPE_STRING and (kind, field.name) not in PLAIN \
                and field.name not in PLAIN_ENDINGS:
            for one in many:
                yield f"{place} {kind}.{field.name}", one
