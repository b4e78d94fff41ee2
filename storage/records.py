"""What storage hands out: frozen records; the rows stay inside.

A `Job` is everything that is queued, whatever its kind; a run is a job of kind "run". A project is a
model × dataset × target. Times are seconds since the epoch. `Point` and `Value` are light, because
Compare reads ten thousand of them at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from pydantic import Field

from compression.spec.data_description import DataDescription
from compression.spec.records import Failure, JobSpec, ModelDescription, Progress, Record, Result, Target
from compression.spec.values import Value
from storage.access import LOCAL, Access

State = Literal["queued", "running", "done", "failed", "cancelled"]
STATES: tuple[State, ...] = ("queued", "running", "done", "failed", "cancelled")

Item = TypeVar("Item")


class ModelRow(Record):
    """A stored model: what it is made of, and the digests of its files."""

    id: str  # digest of the manifest; with the workspace, the identity
    name: str
    architecture: str
    manifest: dict[str, str]  # file name → sha256
    description: ModelDescription
    size_bytes: int  # of its files
    origin: str  # "trained", "uploaded", "sample" …
    data: str | None = None  # the dataset it was trained on or bound to
    notes: dict[str, Any] = Field(default_factory=dict)  # what training or importing reported
    job: int | None = None  # the job that made it
    created: float
    owner: str = LOCAL
    workspace: str = LOCAL


class DataRow(Record):
    """A stored dataset: how to read it, what was found in it, and the digests of its files."""

    id: str
    name: str
    manifest: dict[str, str]
    description: DataDescription
    summary: dict[str, Any]  # compression.data.summary.DataSummary as plain data
    size_bytes: int
    origin: str = "uploaded"
    job: int | None = None
    created: float
    owner: str = LOCAL
    workspace: str = LOCAL


class Job(Record):
    """A queued, running or ended piece of work."""

    id: int
    kind: Literal["run", "train", "sample", "import_model", "import_data"]
    name: str
    spec: JobSpec
    state: State
    progress: Progress | None = None
    attempt: int = 0  # how often a worker took it
    created: float
    started: float | None = None  # of the last attempt
    ended: float | None = None
    failure: Failure | None = None  # why it ended; on a queued job: why the last attempt was lost
    cancel_asked: bool = False
    parent: int | None = None  # the run it was cloned from, or the job that queued it
    model: str | None = None  # used by a run, made by a training or an import
    data: str | None = None
    project: str | None = None  # key of the project of a run
    result_ready: bool = False
    cached_from: int | None = None  # the earlier job whose equal spec gave this job its result
    needs: Literal["cuda"] | None = None  # waits for a worker with this device
    owner: str = LOCAL
    workspace: str = LOCAL
    worker: str | None = None
    device: str | None = None  # "cpu", "cuda:0": where the last attempt ran

    @property
    def access(self) -> Access:
        """What the job may see, and whose is what it makes."""
        return Access(person=self.owner, workspace=self.workspace)


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page of a list, and how many there are in all."""

    items: list[Item]
    total: int
    page: int
    per_page: int

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // self.per_page))


@dataclass(frozen=True, slots=True)
class Point:
    """A finished run as Compare needs it.

    `values` is keyed by metric; what depends on the batch size has it in the key: "latency_ratio@512".
    """

    job_id: int
    name: str
    model: str
    data: str
    project: str
    families: str  # "embed+quantize"; "" is the baseline recipe
    created: float
    owner: str
    values: dict[str, Value] = field(default_factory=dict)


class Project(Record):
    """A model × dataset × target, and how many runs it has."""

    key: str
    model: str
    model_name: str
    data: str
    data_name: str
    target: Target
    runs: int  # done
    active: int  # queued or running
    last: float  # when its newest run was queued


class Comparison(Record):
    """Runs that somebody keeps side by side, with the view (axes, constraints, pinned baseline)."""

    id: str
    name: str
    runs: tuple[int, ...]
    view: dict[str, Any] = Field(default_factory=dict)
    created: float
    owner: str = LOCAL


class WorkerRow(Record):
    """A worker process and when it last gave a sign of life."""

    id: str
    host: str
    pid: int
    device: str
    job: int | None
    started: float
    seen: float
    alive: bool


class NewModel(Record):
    """A model that a job made; its files are in the artifact store already."""

    name: str
    architecture: str
    manifest: dict[str, str]
    description: ModelDescription
    origin: str
    data: str | None = None
    notes: dict[str, Any] = Field(default_factory=dict)
    replaces: str | None = None  # a model that goes, unless something uses it


class NewData(Record):
    """A dataset that a job made; its files are in the artifact store already."""

    name: str
    manifest: dict[str, str]
    description: DataDescription
    summary: dict[str, Any]
    origin: str = "uploaded"


class Outcome(Record):
    """All that a job gives back, saved in one transaction."""

    result: Result | None = None
    model: NewModel | None = None
    dataset: NewData | None = None
    next_jobs: tuple[JobSpec, ...] = ()  # queued as children of the job
    code_version: str = ""  # of the process that did the work

