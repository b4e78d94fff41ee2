"""Small models, datasets, specs and results to put into a store."""

from __future__ import annotations

from compression.spec.data_description import Column, DataDescription, Label, Role
from compression.spec.records import Measurement, ModelDescription, Recipe, Result, RunSpec, Step, Target
from storage.records import Job, NewData, NewModel, Outcome
from storage.silence import LEASE_S
from storage.store import Store


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def pass_a_lease(store: Store, monotonic: Clock) -> None:
    """Let a lease go by in which a busy worker of this store looks at the others' heartbeats."""
    for _ in range(4):
        store.heartbeat(0, "busy", attempt=0)
        monotonic.now += LEASE_S / 3


def add_model(store: Store, name: str = "DeepFM", *, owner: str = "local") -> str:
    manifest = {"config.json": store.files.put_bytes(name.encode())}
    description = ModelDescription(architecture="deepfm", layers=(), signature={"inputs": []})
    return store.add_model(NewModel(name=name, architecture="deepfm", manifest=manifest, description=description,
                                    origin="trained"), owner=owner)


def add_data(store: Store, name: str = "clicks") -> str:
    manifest = {"clicks.csv": store.files.put_bytes(name.encode())}
    description = DataDescription(name=name, files={"all": "clicks.csv"}, label=Label(column="click"),
                                  columns=(Column(name="click", role=Role.LABEL),))
    return store.add_dataset(NewData(name=name, manifest=manifest, description=description, summary={"rows": 3}))


def run_spec(store: Store, *, model: str | None = None, data: str | None = None, seed: int = 0,
             target: Target | None = None, methods: tuple[str, ...] = ()) -> RunSpec:
    recipe = Recipe(name=f"seed {seed}", seed=seed, steps=tuple(Step(method=method) for method in methods))
    return RunSpec(model=model or add_model(store), data=data or add_data(store), recipe=recipe,
                   target=target or Target())


def result_of(spec: RunSpec, *, auc_difference: float = -0.0002, size: float = 250.0, ratio: float = 0.5,
              files: dict[str, str] | None = None) -> Result:
    """Sizes and latencies against a baseline of AUC 0.75 and 1,000 bytes."""
    batch = spec.target.batch_sizes[-1]
    return Result(
        spec=spec, files=files or {},
        baseline=(Measurement(metric="auc", value=0.75, split="test"), Measurement(metric="size_bytes", value=1000)),
        measurements=(
            Measurement(metric="auc", value=0.75 + auc_difference, n=100, ci_low=0.7, ci_high=0.8, split="test",
                        difference=auc_difference, difference_low=auc_difference - 0.001,
                        difference_high=auc_difference + 0.001),
            Measurement(metric="auc", value=0.6, split="test", slice="new users"),
            Measurement(metric="auc", value=0.9, split="valid"),
            Measurement(metric="size_bytes", value=size),
            Measurement(metric="latency_ratio", value=ratio, batch_size=batch, ci_low=0.4, ci_high=0.6),
        ))


def finish(store: Store, job: Job, **measured) -> bool:
    """End a claimed run with a result."""
    return store.finish(job.id, job.worker, Outcome(result=result_of(job.spec, **measured), code_version="test"),
                        attempt=job.attempt)


def finished_run(store: Store, spec: RunSpec, *, name: str = "", **measured) -> int:
    """Submit, claim and finish one run; the queue must be empty."""
    job_id = store.submit(spec, name=name, fresh=True)
    job = store.claim("w1", "cpu")
    assert job is not None and job.id == job_id
    assert finish(store, job, **measured)
    return job_id
