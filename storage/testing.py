"""The contract of the store, for every database: what one workspace makes, no other reads, lists or changes.

    class TestSqlite(StoreContract):
        @pytest.fixture
        def machine(self, tmp_path):
            return open_machine(sqlite_url(tmp_path / "test.db"), tmp_path / "home")

Above it, small things to put into a store. It stands here and not in compression.testing because it speaks of stores,
which the engine may not import.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from compression.spec.data_description import Column, DataDescription, Label, Role
from compression.spec.errors import StorageError
from compression.spec.records import Failure, Measurement, ModelDescription, Recipe, Result, RunSpec, Step, Target
from storage.access import Access
from storage.machine import Machine
from storage.records import Job, NewData, NewModel, Outcome
from storage.store import Store

DAY_S = 24 * 3600.0
FAILURE = Failure(kind="Killed", message="It was killed.", next_step="Retry.")


def new_model(store: Store, name: str = "DeepFM", *, content: str = "", **more: Any) -> NewModel:
    """A model whose file is in the artifact store; equal content (else the name) makes equal digests."""
    manifest = {"config.json": store.files.put_bytes((content or name).encode())}
    description = ModelDescription(architecture="deepfm", layers=(), signature={"inputs": []})
    return NewModel(name=name, architecture="deepfm", manifest=manifest, description=description,
                    **{"origin": "trained", **more})


def add_model(store: Store, name: str = "DeepFM", *, content: str = "", **more: Any) -> str:
    return store.add_model(new_model(store, name, content=content, **more))


def new_data(store: Store, name: str = "clicks", *, content: str = "") -> NewData:
    """A dataset whose file is in the artifact store; equal content (else the name) makes equal digests."""
    manifest = {"clicks.csv": store.files.put_bytes((content or name).encode())}
    description = DataDescription(name=name, files={"all": "clicks.csv"}, label=Label(column="click"),
                                  columns=(Column(name="click", role=Role.LABEL),))
    return NewData(name=name, manifest=manifest, description=description, summary={"rows": 3})


def add_data(store: Store, name: str = "clicks", *, content: str = "") -> str:
    return store.add_dataset(new_data(store, name, content=content))


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


@dataclass(frozen=True)
class Made:
    """One of each thing that people make, in one workspace."""

    spec: RunSpec
    run: int  # done
    failed: int
    running: Job
    queued: int
    comparison: str


def make_one_of_each(machine: Machine, store: Store) -> Made:
    """Fill a workspace; no job of another may be queued."""
    spec = run_spec(store)
    run = finished_run(store, spec, name="ours", files={"bundle.zip": store.files.put_bytes(b"bundle")})
    failed = store.submit(spec, name="failed", fresh=True)
    job = machine.claim("w1", "cpu")
    machine.fail(failed, "w1", FAILURE, attempt=job.attempt)
    running = store.submit(spec, name="running", fresh=True)
    held = machine.claim("w1", "cpu")
    assert held.id == running
    queued = store.submit(spec, name="queued", fresh=True)
    return Made(spec, run, failed, held, queued, store.save_comparison("ours", [run]))


def all_of(store: Store) -> list[Any]:
    """Whatever a workspace shows."""
    jobs = store.jobs(per_page=1000).items
    pairs = dict.fromkeys((job.model, job.data) for job in jobs if job.kind == "run")
    return [store.models(), store.datasets(), jobs, store.counts(), store.projects(), store.comparisons(),
            [store.points(*pair) for pair in pairs], [store.baseline(*pair) for pair in pairs],
            [store.result(job.id) for job in jobs if job.result_ready]]


def refuses(action: Callable[..., Any], *arguments: Any, **options: Any) -> bool:
    """Whether the store says that it has no such thing."""
    try:
        action(*arguments, **options)
    except StorageError as error:
        return "There is no" in str(error) or "is not stored" in str(error)
    return False


# for each public method of a bound store: it shows and does nothing when another workspace made the things
PROBES: dict[str, Callable[[Store, Made], bool]] = {
    "models": lambda store, made: store.models() == store.models(data=made.spec.data) == [],
    "model": lambda store, made: refuses(store.model, made.spec.model),
    "add_model": lambda store, made: store.model(add_model(store, content="DeepFM", name="mine")).name == "mine",
    "datasets": lambda store, made: store.datasets() == store.datasets(text="c") == [],
    "dataset": lambda store, made: refuses(store.dataset, made.spec.data),
    "add_dataset": lambda store, made: store.dataset(add_data(store, content="clicks", name="mine")).name == "mine",
    "rename_model": lambda store, made: refuses(store.rename_model, made.spec.model, "taken"),
    "rename_dataset": lambda store, made: refuses(store.rename_dataset, made.spec.data, "taken"),
    "delete_model": lambda store, made: refuses(store.delete_model, made.spec.model, with_runs=True),
    "delete_dataset": lambda store, made: refuses(store.delete_dataset, made.spec.data, with_runs=True),
    "submit": lambda store, made: refuses(store.submit, made.spec),
    "submit_many": lambda store, made: refuses(store.submit_many, [("", made.spec)]),
    "jobs": lambda store, made: store.jobs().total == store.jobs(text=str(made.run)).total == 0,
    "job": lambda store, made: refuses(store.job, made.run),
    "log_path": lambda store, made: refuses(store.log_path, made.run),
    "counts": lambda store, made: store.counts() == {},
    "rename_job": lambda store, made: refuses(store.rename_job, made.run, "taken"),
    "cancel": lambda store, made: refuses(store.cancel, made.queued) and refuses(store.cancel, made.running.id),
    "retry": lambda store, made: refuses(store.retry, made.failed),
    "delete_job": lambda store, made: refuses(store.delete_job, made.failed),
    "finish": lambda store, made: finish(store, made.running) is False,
    "result": lambda store, made: refuses(store.result, made.run),
    "baseline": lambda store, made: store.baseline(made.spec.model, made.spec.data) == (),
    "bundles": lambda store, made: store.bundles() == [],
    "projects": lambda store, made: store.projects() == [],
    "points": lambda store, made: store.points(made.spec.model, made.spec.data) == [],
    "save_comparison": lambda store, made: (
        refuses(store.save_comparison, "theirs", [made.run])
        and refuses(store.save_comparison, "theirs", [made.run], comparison_id=made.comparison)),
    "comparison": lambda store, made: refuses(store.comparison, made.comparison),
    "comparisons": lambda store, made: store.comparisons() == store.comparisons(owner="anna") == [],
    "delete_comparison": lambda store, made: store.delete_comparison(made.comparison) is None,
}


class StoreContract:
    """Give it a fixture `machine`: an open machine whose database is empty."""

    @pytest.fixture
    def ours(self, machine: Machine) -> Store:
        return Store(machine, Access(person="anna", workspace="north"))

    @pytest.fixture
    def theirs(self, machine: Machine) -> Store:
        return Store(machine, Access(person="anna", workspace="south"))  # the same person: it is the workspace

    def test_what_is_made_has_the_person_and_the_workspace_of_its_access(self, machine, ours):
        made = make_one_of_each(machine, ours)
        for row in (*ours.models(), *ours.datasets(), *ours.jobs().items):
            assert (row.owner, row.workspace) == ("anna", "north")
        assert ours.comparison(made.comparison).owner == "anna"
        assert ours.job(made.run).access == ours.access
        assert [job.id for job, _ in ours.bundles()] == [made.run]

    def test_no_method_shows_or_changes_what_another_workspace_made(self, machine, ours):
        made = make_one_of_each(machine, ours)
        before = all_of(ours)
        for name, shows_nothing in PROBES.items():
            assert shows_nothing(Store(machine, Access(person="anna", workspace=f"a place for {name}")), made), name
            assert all_of(ours) == before, name

    def test_equal_files_are_a_model_in_each_workspace_with_a_name_and_a_binding_of_its_own(self, ours, theirs):
        model = add_model(ours, "Ours", content="x", origin="uploaded", notes={"upload": {}, "binding": "ours"})
        again = add_model(theirs, "Theirs", content="x", origin="uploaded", notes={"upload": {}, "binding": "theirs"})
        assert again == model
        theirs.rename_model(model, "Renamed")
        assert (ours.model(model).name, ours.model(model).notes["binding"]) == ("Ours", "ours")
        assert (theirs.model(model).name, theirs.model(model).notes["binding"]) == ("Renamed", "theirs")
        theirs.delete_model(model)
        assert ours.model(model).name == "Ours"

    def test_a_model_that_another_workspace_replaces_stays(self, ours, theirs):
        model = add_model(ours, "DeepFM")
        add_model(theirs, "Bound anew", replaces=model)
        assert ours.model(model).name == "DeepFM"

    def test_runs_and_comparisons_of_another_workspace_hold_nothing_here(self, machine, ours, theirs):
        make_one_of_each(machine, ours)
        model, data = add_model(theirs), add_data(theirs)
        theirs.delete_model(model)
        theirs.delete_dataset(data)
        assert theirs.models() == theirs.datasets() == []
        assert len(ours.models()) == len(ours.datasets()) == 1

    def test_an_equal_run_of_another_workspace_is_measured_anew(self, machine, ours, theirs):
        spec = run_spec(ours)
        assert run_spec(theirs) == spec
        first, queued = ours.submit(spec), theirs.submit(spec)
        job = machine.claim("w", "cpu")
        assert (job.id, job.access) == (first, ours.access)
        assert ours.finish(first, "w", Outcome(result=result_of(spec)), attempt=job.attempt)
        assert theirs.job(theirs.submit(spec)).state == "queued"  # asked at once
        assert machine.claim("w", "cpu").id == queued  # asked when a worker takes it
        assert ours.job(ours.submit(spec)).cached_from == first

    def test_what_a_job_made_belongs_to_its_own_workspace(self, machine, ours, theirs):
        spec = run_spec(ours)
        run = ours.submit(spec)
        job = machine.claim("w", "cpu")
        outcome = Outcome(model=new_model(ours, "Made"), next_jobs=(spec,))
        assert Store(machine, job.access).finish(run, "w", outcome, attempt=job.attempt)
        assert [model.name for model in ours.models(text="Made")] == ["Made"]
        assert [child.workspace for child in ours.jobs(parent=run).items] == ["north"]
        assert theirs.models() == [] and theirs.counts() == {}

    def test_points_of_equal_models_in_two_workspaces_are_kept_apart(self, ours, theirs):
        spec = run_spec(ours)
        run_spec(theirs)
        first, second = finished_run(ours, spec, size=10), finished_run(theirs, spec, size=20)
        for store, run, size in ((ours, first, 10), (theirs, second, 20), (ours, first, 10)):
            point, = store.points(spec.model, spec.data)
            assert (point.job_id, point.values["size_bytes"].value) == (run, size)
            assert store.projects()[0].runs == 1
        assert ours.projects()[0].key == theirs.projects()[0].key  # a project is model × dataset × target

    def test_a_file_stays_while_any_workspace_names_it(self, machine, ours, theirs):
        model = add_model(ours, content="shared")
        assert add_model(theirs, content="shared") == model
        digest, = ours.model(model).manifest.values()
        for store, stays in ((ours, True), (theirs, False)):
            store.delete_model(model)
            machine.files.sweep(machine.named_digests(), now=time.time() + 2 * DAY_S)
            assert _lies(machine, digest) == stays

    def test_who_owns_a_comparison_decides_within_a_workspace(self, machine, ours):
        made = make_one_of_each(machine, ours)
        colleague = Store(machine, Access(person="bert", workspace="north"))
        assert colleague.comparison(made.comparison).name == "ours"
        with pytest.raises(StorageError, match="belongs to anna"):
            colleague.delete_comparison(made.comparison)

    def test_workers_serve_every_workspace_in_the_order_of_the_queue(self, machine, ours, theirs):
        ids = [store.submit(run_spec(store), fresh=True) for store in (ours, theirs, ours)]
        assert [machine.claim("w", "cpu").id for _ in ids] == ids


def _lies(machine: Machine, digest: str) -> bool:
    """Whether a file is in its place; asking the artifact store would bring it back from the trash."""
    return (machine.files.objects / digest[:2] / digest[2:]).exists()
