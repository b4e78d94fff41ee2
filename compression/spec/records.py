"""The frozen records that travel through the house: what was asked, what was measured, what changed.

Plain data (pydantic, frozen, unknown keys refused), JSON both ways by `model_dump_json` and
`model_validate_json`. Nothing here imports torch, so pages and storage can use them freely.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from compression.spec.digests import LATER
from compression.spec.runtime import DEFAULT_RUNTIME, RUNTIMES, RuntimeKey


class Record(BaseModel):
    """A frozen record; an unknown key is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Step(Record):
    """One method with its parameters, as chosen in a recipe."""

    method: str
    params: dict[str, Any] = Field(default_factory=dict)


class Recipe(Record):
    """Steps in the order they are applied; the empty recipe is the baseline."""

    version: Literal[1] = 1
    name: str = "baseline"
    steps: tuple[Step, ...] = ()
    seed: int = Field(0, ge=0, le=2**31 - 1)


GraphOptimization = Literal["all", "extended", "basic", "none"]


class Target(Record):
    """Where the exported file has to be fast: device, CPU threads, batch sizes; by which runtime, and how far that
    rewrites the file.
    """

    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(1, ge=1, le=64)
    batch_sizes: tuple[Annotated[int, Field(ge=1, le=65536)], ...] = (1, 512)
    graph_optimization: GraphOptimization = "all"
    runtime: Annotated[RuntimeKey, LATER] = DEFAULT_RUNTIME

    @field_validator("runtime")
    @classmethod
    def _runs_on_the_device(cls, runtime: str, given: ValidationInfo) -> str:
        if runtime not in RUNTIMES:  # stored, and its package is gone
            return runtime
        devices, device = RUNTIMES[runtime].devices, given.data.get("device")
        if device is not None and device not in devices:
            raise ValueError(f"{RUNTIMES[runtime].title} runs on {' and '.join(devices)}, not on {device}")
        return runtime

    @property
    def session(self) -> dict[str, Any]:
        """What a session on this target is opened with: whoever runs a file for it passes all of it."""
        return {"device": self.device, "threads": self.threads, "graph_optimization": self.graph_optimization}


class RunSpec(Record):
    """Compress a stored model with a recipe, export it and measure the file."""

    kind: Literal["run"] = "run"
    model: str  # digest of the model's manifest
    data: str  # digest of the dataset's manifest
    recipe: Recipe
    target: Target = Target()


class TrainSpec(Record):
    """Train a reference model of the zoo on a stored dataset."""

    kind: Literal["train"] = "train"
    data: str
    architecture: str
    config: dict[str, Any] = Field(default_factory=dict)  # the architecture's Params
    training: dict[str, Any] = Field(default_factory=dict)  # ReferenceParams
    tune: int = Field(0, ge=0, le=10)  # short trainings that choose rate, decay and dropout first; 0: none
    seed: int = Field(0, ge=0, le=2**31 - 1)
    name: str = ""


class SampleSpec(Record):
    """Fetch or generate a sample dataset; with an architecture, train the reference model after it."""

    kind: Literal["sample"] = "sample"
    sample: str = "movielens-100k"
    architecture: str | None = None
    seed: int = Field(0, ge=0, le=2**31 - 1)


class ImportModelSpec(Record):
    """Validate an uploaded model in a child process and store what was read."""

    kind: Literal["import_model"] = "import_model"
    files: dict[str, str]  # file name → digest of the uploaded bytes
    name: str
    data: str | None = None  # dataset to bind inputs to
    binding: dict[str, Any] = Field(default_factory=dict)
    replaces: str | None = None  # a stored model of these files, bound otherwise; it goes where no run measured it


class ImportDataSpec(Record):
    """Validate an uploaded dataset against its description and store it."""

    kind: Literal["import_data"] = "import_data"
    files: dict[str, str]
    name: str
    description: dict[str, Any]  # compression.spec.data_description.DataDescription


JobSpec = Annotated[RunSpec | TrainSpec | SampleSpec | ImportModelSpec | ImportDataSpec, Field(discriminator="kind")]


WARNING = "warning"  # a stage whose message a person should read before believing a number


class Progress(Record):
    """The only signal that goes up: what a job is doing, and how far it is."""

    stage: str  # "load", "apply", "fine-tune", "export", "measure" …; WARNING
    done: float = 0  # in `unit`
    total: float | None = None
    unit: str = ""  # "epoch", "rows", "pairs"
    rate: float | None = None  # `unit`/s; for training rows/s
    seconds_left: float | None = None
    message: str = ""


Report = Callable[[Progress], None]


class Measurement(Record):
    """One number read off the exported file, with what it was taken on.

    `difference*` is the paired difference to the baseline over the same rows; absent on the baseline.
    Intervals are 95 %.
    """

    metric: str  # a key of compression.spec.metrics.METRICS
    value: float
    n: int | None = None  # rows, users or repeats behind the value
    ci_low: float | None = None
    ci_high: float | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    split: str | None = None
    slice: str | None = None  # None is everything
    runtime: str | None = None
    device: str | None = None
    threads: int | None = None
    batch_size: int | None = None
    spread: float | None = None  # interquartile range over the repeats, in the metric's unit
    sessions: int | None = None  # processes that a latency was taken in, each with sessions of its own


class Change(Record):
    """A module that a step replaced, with its bytes before and after."""

    step: int  # index in the recipe
    method: str
    module: str  # dotted path in the model
    bytes_before: int
    bytes_after: int
    detail: str = ""


class Skip(Record):
    """A module that a step left alone, and why. Not an error."""

    step: int
    method: str
    module: str
    reason: str


class Failure(Record):
    """Why a job ended without a result, and what to do next."""

    kind: str  # class name of the error
    message: str
    next_step: str = ""


class Result(Record):
    """Everything a finished run knows about itself."""

    spec: RunSpec
    baseline: tuple[Measurement, ...]
    measurements: tuple[Measurement, ...]
    changes: tuple[Change, ...] = ()
    skipped: tuple[Skip, ...] = ()
    cached_steps: int = 0  # steps at the start that were taken from the cache of steps
    files: dict[str, str] = Field(default_factory=dict)  # name in the bundle → sha256
    environment: dict[str, str] = Field(default_factory=dict)
    started: float = 0.0  # seconds since the epoch
    ended: float = 0.0


class Part(StrEnum):
    """What a layer does in a ranking model."""

    EMBEDDING = "embedding"
    DENSE = "dense"
    INTERACTION = "interaction"
    OUTPUT = "output"


class Tensor(Record):
    """A tensor as the exported file stores it."""

    name: str
    dtype: str  # "float32", "int8", "uint8", "float16", "bfloat16", "int32", "int64", "bool"
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        count = 1
        for length in self.shape:
            count *= length
        return count * {"float32": 4, "int32": 4, "float16": 2, "bfloat16": 2, "int64": 8}.get(self.dtype, 1)


class Zeros(Record):
    """How many weights of a layer are zero at least, known from a recipe's steps alone.

    due: the next training will set them · held: they are there and live through the next training, which holds them ·
    there: the training after knows nothing of them. They count for the `shape` they were made in.
    """

    count: int
    shape: tuple[int, ...]
    state: Literal["due", "held", "there"]


class Layer(Record):
    """One leaf of a model, by shapes alone: enough for the treemap and the exact size estimate."""

    name: str  # dotted path
    kind: str  # class of the leaf: "Embedding", "Linear", "BatchNorm1d", "QuantizedRows" …
    part: Part
    shape: tuple[int, ...]  # (V, D) of a table, (out, in) of a dense layer
    tensors: tuple[Tensor, ...]  # what the export writes
    field: str | None = None  # the input column a table reads
    ordered: bool = True  # a table's rows stand in the order of their frequency, as vocabularies made here do
    heads: int = 0  # of the attention that it projects for: its rows (of `out`, its columns) go in so many groups
    zeros: Zeros | None = None  # what pruning steps of a recipe are known to leave; None in a model as it is

    @property
    def size_bytes(self) -> int:
        return sum(tensor.size_bytes for tensor in self.tensors)

    @property
    def known_zeros(self) -> int:
        """Weights that are zero at least, here and now."""
        known = self.zeros is not None and self.zeros.shape == self.shape and self.zeros.state != "due"
        return self.zeros.count if known else 0


class Question(Record):
    """What weights alone don't say. `key` is answered in a binding's `answers`; no choices: a number or names.

    decided_by: the file, the answer, the loss on data, or a guess. `losses` of each choice that was tried on data, and
    `lead_error`, the standard error of the winner's lead over the next best.
    """

    key: str
    text: str
    choices: tuple[Any, ...] = ()
    answer: Any = None
    decided_by: Literal["guess", "data", "file", "answer"] = "guess"
    losses: tuple[float, ...] = ()
    lead_error: float | None = None


class ModelDescription(Record):
    """A model without its weights: what it reads, what it is made of."""

    architecture: str
    layers: tuple[Layer, ...]
    signature: Any  # compression.spec.signature.Signature as plain data
    graph_bytes: int = 0  # what the exported file weighs beyond the layers' tensors
    notes: tuple[str, ...] = ()  # sentences a reader should know, such as why a file can only be measured as it is
    questions: tuple[Question, ...] = ()  # what weights without a config left open, and how it was decided

    @property
    def size_bytes(self) -> int:
        return sum(layer.size_bytes for layer in self.layers) + self.graph_bytes
