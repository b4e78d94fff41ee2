"""What a compression method is: a Params class, a function over leaves, and honest declarations.

    class MagnitudeParams(Params):
        sparsity: float = Field(0.5, ge=0, le=0.99, multiple_of=0.01, description="Fraction of weights set to zero.")

    @method("prune.magnitude", MagnitudeParams, title="Magnitude pruning", stage=Stage.AFTER_TRAINING,
            parts={Part.DENSE}, needs=set(), export=ExportForm.PLAIN, source="Han et al. 2015, arXiv:1506.02626",
            no_op={"sparsity": 0.0})
    def prune_magnitude(model, params, ctx): ...

That file, in compression/methods, is all: the editor, the command line, the list of methods and the contract tests read
the rest from here. What it leaves for other steps and what it needs of them is declared in `effects`
(compression/spec/effects.py); no method names another.

A method file loads without torch (pages read its Params): torch is imported inside the function, the
mathematics lives in compression/layers. Bounds live once, in the Params class: slider, validator,
search space and docs are read from it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from compression.spec.effects import NO_EFFECTS, Effects
from compression.spec.errors import RecipeError
from compression.spec.names import within
from compression.spec.records import Change, Layer, ModelDescription, Part, Report, Skip, Target
from compression.spec.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from compression.spec.hook import Hook


class SharedParams:
    """A direct base of a Params class whose settings several methods have: they inherit it beside their own."""


class Params(BaseModel):
    """Base of every parameter class: frozen, unknown keys refused, every number bounded on both sides."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Python counts true as 1: a setting that reads `epochs: true` is a mistake, not one epoch."""
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation in (int, float):
            raise ValueError("must be a number")
        return value

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Settings that methods share stand behind a method's own, on sliders and in recipes alike."""
        shared = {name for base in cls.__mro__[1:] if SharedParams in base.__bases__ for name in base.__annotations__}
        for name in [name for name in cls.__pydantic_fields__ if name in shared]:
            cls.__pydantic_fields__[name] = cls.__pydantic_fields__.pop(name)
        return handler(source)


class Stage(StrEnum):
    """Where in a model's life a method does its work."""

    BEFORE_TRAINING = "before training"
    DURING_TRAINING = "during training"
    AFTER_TRAINING = "after training"


class Need(StrEnum):
    """What a method has to be given besides the model."""

    LABELS = "labels"
    CALIBRATION = "calibration"
    TEACHER = "teacher"
    FINE_TUNE = "fine-tune"


class Gain(StrEnum):
    """What a method is chosen for. A promise: the benchmark and each run measure whether it is kept."""

    SMALLER = "smaller"
    FASTER = "faster"
    QUALITY = "better quality"


class ExportForm(StrEnum):
    """How the result is written: plain float operators, quantised ONNX operators, or contrib operators."""

    PLAIN = "plain"
    QDQ = "qdq"
    CONTRIB = "contrib op"


@dataclass
class Context:
    """What the engine lends a method while it works."""

    step: int = 0
    method: str = ""
    seed: int = 0
    device: str = "cpu"
    dataset: Any = None  # compression.data.dataset.Dataset; None where a recipe is applied without data
    frequencies: dict[str, "np.ndarray"] = field(default_factory=dict)  # table path → (V,) int64 counts in train
    signature: Any = None
    teacher: "nn.Module | None" = None  # the uploaded model, untouched
    hooks: list["Hook"] = field(default_factory=list)  # of earlier steps, for the next fine-tuning
    report: Report = lambda progress: None
    folder: Path | None = None  # scratch and checkpoints of this step; kept over a retry
    events: Path | None = None  # folder for TensorBoard's events of trainings; None: none are written
    target: Target = field(default_factory=Target)  # where the result has to be fast
    time_layers: "TimeLayers | None" = None  # measures a new dense layer beside the old one; None: nothing is timed

    @property
    def generator(self) -> "torch.Generator":
        """A fresh generator for this step: same seed and step, same draws."""
        import torch

        return torch.Generator().manual_seed(self.seed * 1000 + self.step)

    def change(self, module: str, before: int, after: int, detail: str = "") -> Change:
        return Change(
            step=self.step, method=self.method, module=module, bytes_before=before, bytes_after=after, detail=detail
        )

    def skip(self, module: str, reason: str) -> Skip:
        return Skip(step=self.step, method=self.method, module=module, reason=reason)


@dataclass
class Applied:
    """What a method gives back: the new model, what changed, what it left alone, what must live through training."""

    model: "nn.Module"
    changes: list[Change] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)
    hooks: list["Hook"] = field(default_factory=list)


@dataclass(frozen=True)
class Fix:
    """An edit that resolves a problem: move, remove or insert a step (of `method`); `to` is its index afterwards."""

    action: Literal["move", "remove", "insert"]
    step: int = 0
    to: int = 0
    method: str = ""


@dataclass(frozen=True)
class Problem:
    """Why a recipe can't run (error) or may disappoint (warning), at which step, and what would fix it."""

    step: int
    severity: Literal["error", "warning"]
    message: str
    fix: Fix | None = None


def copy_structure(model: "nn.Module") -> "nn.Module":
    """The same model in new module objects; parameters and buffers are the very same tensors.

    Training writes into tensors: deep-copy the model instead of training a copied structure.
    """
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    return copy.deepcopy(model, shared)


SHOWN_CHARS = 80  # of a wrong value, in the sentence that refuses it

# (old layer, new layer, in_features, target) → batch size → (ratio, low, high): measure.layer_latency.time_layers
TimeLayers = Callable[["nn.Module", "nn.Module", int, Target], dict[int, Any]]
Estimate = Callable[[tuple[Layer, ...], Any], tuple[Layer, ...]]
Warns = Callable[[Any], Iterator[str]]
Named = Callable[[Any], str]
Fits = Callable[[ModelDescription], str]
PART_WORDS = {Part.EMBEDDING: "embedding tables", Part.DENSE: "dense layers", Part.INTERACTION: "interaction layers",
              Part.OUTPUT: "an output layer"}


@dataclass(eq=False)
class Method:
    """A registered method. Call it as `method(model, params, ctx) -> Applied`; the input model stays untouched."""

    key: str
    params: type[Params]
    title: str
    summary: str  # one plain sentence: what it does
    stage: Stage
    parts: frozenset[Part]
    needs: frozenset[Need]
    export: ExportForm
    source: str
    apply: Callable[["nn.Module", Any, Context], Applied]
    tiny: dict[str, Any]  # settings under which it works on tables of a few rows: the contract tests run these
    no_op: dict[str, Any] | str  # settings at which it changes nothing, or why there are none
    # whether the size is known only after measuring, so that the estimate is its upper bound; or params → whether
    estimate_is_bound: bool | Callable[[Any], bool] = False
    gains: frozenset[Gain] = frozenset()
    effects: Effects | Callable[[Any], Effects] = NO_EFFECTS  # of its parameters, where these decide
    trains: bool = False  # it trains the model, with the hooks of the steps before it
    _estimate: Estimate | None = None
    _warns: Warns | None = None
    _named: Named | None = None
    _fits: Fits | None = None

    @property
    def family(self) -> str:
        """The key up to its dot, such as `embed` or `quantize`: one colour each in the plots."""
        return self.key.split(".")[0]

    def __call__(self, model: "nn.Module", params: Params, ctx: Context) -> Applied:
        return self.apply(copy_structure(model), params, ctx)

    def estimate(self, function: Estimate) -> Estimate:
        """Decorator: layers before → layers after, by shapes alone. Without one, shapes stay as they are."""
        self._estimate = function
        return function

    def warns(self, function: Warns) -> Warns:
        """Decorator: params → sentences on what may disappoint at these values, whatever the other steps are."""
        self._warns = function
        return function

    def named(self, function: Named) -> Named:
        """Decorator: params → two or three words for the name of a recipe, such as "int4 rows"."""
        self._named = function
        return function

    def fits(self, function: Fits) -> Fits:
        """Decorator: description → why the method has nothing to do in that model, as a sentence; "" where it has."""
        self._fits = function
        return function

    def why_not(self, description: ModelDescription) -> str:
        """Why the method doesn't suit a model, as a sentence; "" where it does. It needs one of its parts at least."""
        if not self.parts & {layer.part for layer in description.layers}:
            return f"This model has no {' or '.join(PART_WORDS[part] for part in Part if part in self.parts)}."
        return self._fits(description) if self._fits else ""

    def estimated(self, layers: tuple[Layer, ...], params: Params) -> tuple[Layer, ...]:
        return self._estimate(layers, params) if self._estimate else layers

    def is_bounded(self, params: Params) -> bool:
        """Whether its estimate is an upper bound with these parameters."""
        return self.estimate_is_bound(params) if callable(self.estimate_is_bound) else self.estimate_is_bound

    def effects_of(self, params: Params) -> Effects:
        """What it makes, needs and undoes with these parameters."""
        return self.effects(params) if callable(self.effects) else self.effects

    def warnings(self, params: Params) -> list[str]:
        return list(self._warns(params)) if self._warns else []

    def short_name(self, params: dict[str, Any]) -> str:
        """The step in two or three words. Raises RecipeError as `parse` does."""
        parsed = self.parse(params)
        return self._named(parsed) if self._named else within(self.title)

    def parse(self, params: dict[str, Any]) -> Params:
        """Validated parameters. Raises RecipeError naming the parameter, its value and its bounds."""
        return parsed_params(self.params, params, owner=self.key)


METHODS = Registry[Method]("method", room="compression.methods", group="recpress.methods", contract=1)


def method(
    key: str,
    params: type[Params],
    *,
    title: str,
    summary: str,
    stage: Stage,
    parts: set[Part],
    needs: set[Need],
    export: ExportForm,
    source: str,
    no_op: dict[str, Any] | str,
    tiny: dict[str, Any] | None = None,
    estimate_is_bound: bool | Callable[[Any], bool] = False,
    gains: set[Gain] | None = None,
    effects: Effects | Callable[[Any], Effects] = NO_EFFECTS,
    trains: bool = False,
) -> Callable[..., Method]:
    """Register a function as a method under its key; see Method for what each declaration means."""

    def register(apply: Callable[["nn.Module", Any, Context], Applied]) -> Method:
        return METHODS.register(key, Method(
            key, params, title, summary, stage, frozenset(parts), frozenset(needs), export, source, apply,
            tiny or {}, no_op, estimate_is_bound, frozenset(gains or ()), effects, trains,
        ))

    return register


def parsed_params(params: type[Params], given: dict[str, Any], *, owner: str) -> Any:
    """`given` as the validated record. Raises RecipeError naming the parameter, its owner, its value and its bounds."""
    try:
        return params(**given)
    except ValidationError as error:
        raise RecipeError(_explain(params, owner, error)) from None


def _explain(params: type[Params], owner: str, error: ValidationError) -> str:
    sentences = []
    for item in error.errors():
        name = str(item["loc"][0]) if item["loc"] else "parameters"
        known = ", ".join(params.model_fields)
        if item["type"] == "extra_forbidden":
            sentences.append(f"{owner} has no parameter {name[:SHOWN_CHARS]}; it has: {known}.")
            continue
        allowed = bounds_text(params, name) or item["msg"]
        sentences.append(f"{name} of {owner} must be {allowed}; got {_shortened(item['input'])}.")
    return " ".join(sentences)


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…"


def bounds_text(params: type[Params], name: str) -> str:
    """The bounds of a parameter in words, as the validator has them: "in [0, 0.99]", "one of 8, 4, 2"."""
    schema = params.model_json_schema()
    prop = schema.get("properties", {}).get(name, {})
    if "$ref" in prop:
        prop = schema["$defs"][prop["$ref"].split("/")[-1]]
    if "enum" in prop:
        return "one of " + ", ".join(str(value) for value in prop["enum"])
    if "minimum" in prop and "maximum" in prop:
        whole = "a whole number " if prop.get("type") == "integer" else ""
        return f"{whole}in [{_number(prop['minimum'])}, {_number(prop['maximum'])}]"
    if prop.get("type") == "boolean":
        return "true or false"
    return ""


def _number(value: float) -> str:
    """A bound as people read it: 1,000,000 rather than 1e+06."""
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
