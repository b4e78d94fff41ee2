"""A store filled with fabricated runs, for tests of pages: shapes and relations are real, the numbers are made up."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

from compression.spec.data_description import Column, DataDescription, Label, Role
from compression.spec.presets import recipe_name
from compression.spec.records import (
    Change,
    Failure,
    Layer,
    Measurement,
    ModelDescription,
    Part,
    Progress,
    Recipe,
    Result,
    RunSpec,
    Skip,
    Step,
    Target,
    Tensor,
)
from compression.spec.signature import Input, Signature
from storage.access import LOCAL_ACCESS
from storage.records import NewData, NewModel, Outcome
from storage.store import Store, open_store

TABLES = {"user": 6041, "item": 3707, "genre": 19}
DIM = 16
WORKER = "fabricated:1"
BASE_BYTES, BASE_AUC, BASE_MS = 1_900_000.0, 0.7912, 4.2


def description() -> ModelDescription:
    """A small DeepFM by shapes alone."""
    def tensor(name: str, *shape: int) -> Tensor:
        return Tensor(name=name, dtype="float32", shape=shape)

    layers = [Layer(name=f"tables.{name}", kind="Embedding", part=Part.EMBEDDING, shape=(rows, DIM), field=name,
                    tensors=(tensor(f"tables.{name}.weight", rows, DIM),)) for name, rows in TABLES.items()]
    widths = (DIM * len(TABLES), 256, 128, 1)
    for index, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        layers.append(Layer(name=f"mlp.{2 * index}", kind="Linear", part=Part.DENSE if n_out > 1 else Part.OUTPUT,
                            shape=(n_out, n_in), tensors=(tensor(f"mlp.{2 * index}.weight", n_out, n_in),
                                                          tensor(f"mlp.{2 * index}.bias", n_out))))
    signature = Signature(inputs=tuple(Input(name=name, kind="category", column=name, cardinality=rows)
                                       for name, rows in TABLES.items()))
    return ModelDescription(architecture="deepfm", layers=tuple(layers), signature=signature.model_dump(mode="json"),
                            graph_bytes=4000)


def data_description(name: str = "Clicks") -> DataDescription:
    roles = {"user": Role.USER, "item": Role.ITEM, "genre": Role.CATEGORY, "clicked": Role.LABEL}
    return DataDescription(name=name, files={"all": "clicks.csv"}, label=Label(column="clicked"),
                           columns=tuple(Column(name=column, role=role) for column, role in roles.items()))


def add_subject(store: Store) -> tuple[str, str]:
    """A model and the dataset it was trained on; gives their ids."""
    def put(text: str) -> str:
        return store.files.put_bytes(text.encode())

    data = store.add_dataset(NewData(name="Clicks", manifest={"data.yaml": put("data")},
                                     description=data_description(), summary={}))
    model = store.add_model(NewModel(name="DeepFM on Clicks", architecture="deepfm", origin="trained", data=data,
                                     manifest={"config.json": put("model")}, description=description()))
    return model, data


RECIPES: dict[str, tuple[tuple[Step, ...], float, float, float]] = {
    "baseline": ((), 1.0, 0.0, 1.0),
    "int8": ((Step(method="embed.quantize_rows", params={"n_bits": 8}),), 0.31, -0.00002, 0.99),
    "int8 all": ((Step(method="embed.quantize_rows", params={"n_bits": 8}), Step(method="quantize.dynamic")),
                 0.27, -0.0003, 0.62),
    "int4 all": ((Step(method="embed.quantize_rows", params={"n_bits": 4}), Step(method="quantize.dynamic")),
                 0.145, -0.0009, 0.68),
    "rare": ((Step(method="embed.prune_rows", params={"keep": 0.3}),), 0.42, -0.0021, 1.01),
    "student": ((Step(method="distill.logits", params={"width_ratio": 0.5}),
                 Step(method="train.fine_tune", params={"epochs": 3}), Step(method="quantize.dynamic")),
                0.21, 0.0004, 0.38),
    "low rank": ((Step(method="factorize.svd", params={"rank_ratio": 0.4}),), 0.55, -0.0014, 0.9),
}


def result_of(spec: RunSpec, size: float, loss: float, ratio: float, *, files: dict[str, str] | None = None) -> Result:
    """A result with these ratios to the baseline, an AUC difference of `loss` ± 0.0006."""
    largest = max(spec.target.batch_sizes)

    def baseline(metric: str, value: float, **more: object) -> Measurement:
        return Measurement(metric=metric, value=value, **more)

    before = [baseline("auc", BASE_AUC, n=10_000, ci_low=BASE_AUC - 0.004, ci_high=BASE_AUC + 0.004, split="test"),
              baseline("logloss", 0.4821, n=10_000, split="test"), baseline("size_bytes", BASE_BYTES),
              baseline("download_bytes", BASE_BYTES * 0.92),
              baseline("resident_bytes", 2.4e6), baseline("parameters", 470_000),
              *(baseline("latency_p50_ms", BASE_MS * batch / largest + 0.05, batch_size=batch, device="cpu", threads=1)
                for batch in spec.target.batch_sizes)]
    here = [Measurement(metric="auc", value=BASE_AUC + loss, n=10_000, ci_low=BASE_AUC + loss - 0.004,
                        ci_high=BASE_AUC + loss + 0.004, difference=loss, difference_low=loss - 0.0006,
                        difference_high=loss + 0.0006, split="test"),
            Measurement(metric="logloss", value=0.4821 - loss, n=10_000, difference=-loss,
                        difference_low=-loss - 0.0009, difference_high=-loss + 0.0009, split="test"),
            Measurement(metric="size_bytes", value=BASE_BYTES * size),
            Measurement(metric="download_bytes", value=BASE_BYTES * size * 0.8),
            Measurement(metric="resident_bytes", value=2.4e6 * (0.2 + 0.8 * size)),
            Measurement(metric="parameters", value=470_000)]
    for batch in spec.target.batch_sizes:
        ms = (BASE_MS * batch / largest + 0.05) * ratio
        here += [Measurement(metric="latency_p50_ms", value=ms, spread=ms / 20, batch_size=batch, device="cpu",
                             threads=1),
                 Measurement(metric="latency_p95_ms", value=ms * 1.3, batch_size=batch, device="cpu", threads=1),
                 Measurement(metric="latency_ratio", value=ratio, ci_low=ratio - 0.02, ci_high=ratio + 0.02,
                             batch_size=batch, device="cpu", threads=1)]
    changes = tuple(Change(step=0, method=spec.recipe.steps[0].method, module=f"tables.{name}",
                           bytes_before=rows * DIM * 4, bytes_after=int(rows * DIM * 4 * size))
                    for name, rows in TABLES.items()) if spec.recipe.steps else ()
    skipped = (Skip(step=0, method=spec.recipe.steps[0].method, module="tables.genre",
                    reason="19 rows are fewer than 100"),) if spec.recipe.steps else ()
    return Result(spec=spec, baseline=tuple(before), measurements=tuple(here), changes=changes, skipped=skipped,
                  files=files or {}, environment={"machine": "fabricated"})


def spec_of(model: str, data: str, steps: tuple[Step, ...], *, seed: int = 0) -> RunSpec:
    return RunSpec(model=model, data=data, recipe=Recipe(name=recipe_name(steps), steps=steps, seed=seed),
                   target=Target(batch_sizes=(1, 512)))


def finish_next(store: Store, size: float, loss: float, ratio: float) -> int:
    """Let a fabricated worker claim the next job and finish it with these numbers; gives its number."""
    job = store.claim(WORKER, "cpu")
    result = result_of(job.spec, size, loss, ratio, files={"bundle.zip": store.files.put_bytes(b"bundle")})
    assert store.finish(job.id, WORKER, Outcome(result=result), attempt=job.attempt)
    return job.id


def fill(store: Store, *, failed: bool = True, active: bool = True) -> dict[str, int]:
    """One of each: finished runs, a failed one, a running one and a queued one. Gives job numbers by name."""
    model, data = add_subject(store)
    ids = {}
    for name, (steps, size, loss, ratio) in RECIPES.items():
        store.submit(spec_of(model, data, steps), name=recipe_name(steps))
        ids[name] = finish_next(store, size, loss, ratio)
    lone = (Step(method="prune.magnitude", params={"sparsity": 0.9}),)
    if failed:
        store.submit(spec_of(model, data, lone, seed=1), name="prune 90 %")
        job = store.claim(WORKER, "cpu")
        store.log_path(job.id).parent.mkdir(parents=True, exist_ok=True)
        store.log_path(job.id).write_text("load\napply Magnitude pruning\nexport\ncheck parity\n")
        store.fail(job.id, WORKER, Failure(kind="ExportError", message="The exported file disagrees with torch by 0.2.",
                                           next_step="Lower the sparsity, or report it with the log."),
                   attempt=job.attempt)
        ids["failed"] = job.id
    if active:
        for seed in (2, 3):
            ids[f"active{seed}"] = store.submit(spec_of(model, data, lone, seed=seed), name=f"prune seed {seed}")
        job = store.claim(WORKER, "cpu")
        store.heartbeat(job.id, WORKER, Progress(stage="fine-tune", done=3, total=20, unit="epoch", rate=41_000,
                                                 seconds_left=95), attempt=job.attempt)
    return ids


def fill_many(store: Store, count: int, *, seed: int = 0) -> tuple[str, str]:
    """`count` finished runs scattered around a front, for measuring pages; gives model and dataset."""
    model, data = add_subject(store)
    draw = random.Random(seed)
    families = list(RECIPES.values())[1:]
    jobs = []
    for index in range(count):
        steps = families[index % len(families)][0]
        jobs.append((f"{recipe_name(steps)} {index}", spec_of(model, data, steps, seed=index + 1)))
    for start in range(0, count, 1000):
        store.submit_many(jobs[start:start + 1000])
    for _ in range(count):
        size = draw.uniform(0.02, 1.0)
        finish_next(store, size, -0.004 / size * draw.uniform(0.02, 0.4), draw.uniform(0.3, 1.3))
    return model, data


def store_at(home: Path) -> Store:
    """The store of a home folder."""
    return open_store(LOCAL_ACCESS, url=f"sqlite:///{home / 'recpress.db'}", root=home)


def filled_home(folder: Path, **options: bool) -> dict[str, int]:
    """Fill a fresh home folder; gives job numbers by name."""
    store = store_at(folder)
    ids = fill(store, **options)
    store.close()
    return ids
