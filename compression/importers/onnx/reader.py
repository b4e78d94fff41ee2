"""Read a foreign ONNX file: check, bind, try both ways of running it, and write the model folder."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from compression.importers.binding.proposal import bind, derived_inputs
from compression.importers.binding.vocabularies import no_bundle
from compression.importers.description import describe_read
from compression.importers.onnx.inputs import model_inputs
from compression.models.onnx.check import graph_inputs, read_checked, stored_tensors
from compression.models.onnx.derived_inputs import with_derived_inputs
from compression.models.onnx.folder import (
    RESERVED,
    Binding,
    describe_file,
    read_onnx_folder,
    score_name,
    with_one_score,
    write_onnx_folder,
)
from compression.models.onnx.labels import without_labels
from compression.models.onnx.plain_inputs import fixed_batch, with_batch_first, with_plain_types
from compression.models.onnx.scores import chosen_score, ends_in_probability, with_chosen
from compression.models.onnx.values import Unsupported
from compression.spec.errors import ExportError, MeasureError, ModelError
from compression.spec.names import PRODUCER
from compression.spec.records import ModelDescription, Target
from compression.spec.runtime import DEFAULT_RUNTIME, RUNTIMES
from compression.spec.session import Session
from compression.spec.signature import Input, Signature

TOLERANCE = 1e-4  # between the runtime and our reading of the same file, on probabilities
HALF_TOLERANCE = 5e-3  # where it holds numbers of 16 bits
_TRIED_ROWS = (3, 5)
_TRIED_BATCHES = 3  # of a file with a fixed one


def read_onnx(path: Path, name: str, data: dict[str, Path], out: Path, *, given: dict[str, Any],
              vocabularies: dict[str, list[str]], data_folder: Path | None) -> ModelDescription:
    """Check and bind the file, and write it to `out`. Where our reading fails, it is kept to be measured as it is.

    `name` is what messages call it; `data` are the files beside it.
    Raises ModelError for a file that is broken or hostile, can't be bound, or can't be run by the runtime.
    """
    model = read_checked(path, data, name=name)
    choice = chosen_score(model, given)
    model, output = with_chosen(model, choice)
    _refuse_unsaid(model, given)
    signature = bind(model_inputs(model), given, description=_description(data_folder), vocabularies=vocabularies)
    derived = derived_inputs(given, signature.inputs)
    model = with_derived_inputs(model, derived)
    is_probability = ends_in_probability(model, output) or _said_probability(given, output)
    kept = with_one_score(model, output, is_probability=is_probability)
    signature = signature.model_copy(update={"output": score_name(kept), "output_form": "probability"})
    with tempfile.TemporaryDirectory(prefix="tried-", dir=out.parent) as scratch:
        tried = Path(scratch)
        write_onnx_folder(tried, kept, data, Binding(signature=signature, readable=True), vocabularies)
        scores = _scores_of_runtime(tried, signature, name)
        _compare_as_it_came(path, name, data, choice, derived, tried, signature, is_probability=is_probability)
        reason = _why_unreadable(tried, signature, scores, _tolerance(model))
    binding = Binding(signature=signature, readable=not reason, reason=reason)
    write_onnx_folder(out, kept, data, binding, vocabularies)
    if reason:
        return describe_file(out / "model.onnx", kept, signature, reason)
    return _describe(out)


def trial_inputs(signature: Signature, n_rows: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Made-up rows with every id inside its table."""

    def column(item: Input) -> np.ndarray:
        if item.kind == "number":
            return generator.normal(size=n_rows).astype(np.float32)
        shape = (n_rows, item.max_length or 3) if item.kind == "multi" else n_rows
        return generator.integers(0, item.cardinality or 1, shape).astype(item.dtype) + item.offset

    return {item.name: np.stack([column(part) for part in item.parts], 1) if item.parts else column(item)
            for item in signature.inputs}


def _refuse_unsaid(model: onnx.ModelProto, given: dict[str, Any]) -> None:
    """Raises ModelError for a file that was exported here and inputs of which nothing says how they are read."""
    said = given.get("inputs") or {}
    unsaid = [one.name for one in graph_inputs(model) if not isinstance(said, list) and one.name not in said]
    if model.producer_name == PRODUCER and unsaid:
        raise ModelError(no_bundle(f"reads {', '.join(unsaid[:5])}"))


def _scores_of_runtime(folder: Path, signature: Signature, name: str) -> list[np.ndarray]:
    """Scores of the trial rows by the runtime, for two batch sizes."""
    generator = np.random.default_rng(0)
    try:
        with closing(_opened(folder / "model.onnx")) as session:
            scores = [session.score(trial_inputs(signature, n_rows, generator)) for n_rows in _TRIED_ROWS]
    except MeasureError as error:
        raise ModelError(f"{name} could not be tried: {error}") from None
    if any((batch < 0).any() or (batch > 1).any() for batch in scores):
        raise ModelError(f"{name} gave scores outside [0, 1], but its output was said to be a probability. "
                         'Say {"output_form": "logit"} in the binding.')
    return scores


def _opened(file: Path) -> Session:
    """The file in the runtime that a target names where nobody chose another."""
    target = Target()
    return RUNTIMES[target.runtime].open(file, **target.session)


def _compare_as_it_came(path: Path, name: str, data: dict[str, Path], choice: str,
                        derived: dict[str, tuple[str, str]], tried: Path, signature: Signature, *,
                        is_probability: bool) -> None:
    """Where loops were taken for EmbeddingBags, or a fixed batch was made free: the file as it came has to give the
    same scores. Raises ModelError.
    """
    whole = without_labels(onnx.load(str(path), load_external_data=False))
    whole = with_batch_first(with_plain_types(whole))  # read_checked has looked at all of it
    batch = fixed_batch(graph_inputs(whole))
    if batch is None and not any(node.op_type == "Loop" for node in whole.graph.node):
        return
    whole, output = with_chosen(with_derived_inputs(whole, derived), choice)
    for other, file in data.items():
        if other not in RESERVED and not (tried / other).exists():
            shutil.copyfile(file, tried / other)
    as_it_came = tried / "as_it_came.onnx"
    as_it_came.write_bytes(with_one_score(whole, output, is_probability=is_probability).SerializeToString())
    generator = np.random.default_rng(0)
    try:
        with closing(_opened(as_it_came)) as before, closing(_opened(tried / "model.onnx")) as after:
            for with_padding in (False, True):
                rows = trial_inputs(signature, _TRIED_BATCHES * batch if batch else _TRIED_ROWS[1], generator)
                rows = {key: _padded(value) if with_padding else value for key, value in rows.items()}
                if batch is not None and not _agree(before, after, rows, batch):
                    raise ModelError(f"{name} has a fixed batch of {batch}, and its graph computes something else with "
                                     "another one. Export the model with a dynamic first axis, so that one row and a "
                                     "thousand can be scored.")
                if batch is None and np.abs(before.score(rows) - after.score(rows)).max() > TOLERANCE:
                    raise ModelError(f"{name} holds a loop that looks like an EmbeddingBag, but pools in a way that is "
                                     "not read. Export the model without loops that depend on the data.")
    except MeasureError as error:
        raise ModelError(f"{name} could not be tried: {error}") from None
    finally:
        as_it_came.unlink()


def _agree(before: Session, after: Session, rows: dict[str, np.ndarray], batch: int) -> bool:
    """Whether all rows at once have the scores that the file gives them, `batch` at a time."""
    n_rows = len(next(iter(rows.values())))
    parts = [before.score({key: value[start:start + batch] for key, value in rows.items()})
             for start in range(0, n_rows, batch)]
    try:
        return bool(np.abs(np.concatenate(parts) - after.score(rows)).max() <= TOLERANCE)
    except (MeasureError, ValueError):  # the free graph can't be run with more rows, or gives other shapes
        return False


def _tolerance(model: onnx.ModelProto) -> float:
    """Between the runtime and our reading, which computes in float32 whatever the file stores."""
    halves = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    return HALF_TOLERANCE if any(tensor.data_type in halves for tensor in stored_tensors(model)) else TOLERANCE


def _padded(values: np.ndarray) -> np.ndarray:
    """Lists with zeros at the end, one of them all zeros; other inputs as they are."""
    if values.ndim < 2 or values.dtype.kind != "i":
        return values
    values = values.copy()
    for row in range(len(values)):
        values[row, max(0, values.shape[1] - row):] = 0
    values[-1] = 0
    return values


def _why_unreadable(folder: Path, signature: Signature, expected: list[np.ndarray], tolerance: float) -> str:
    """Why our reading of the file can't be used; empty where it agrees with the runtime."""
    import torch

    from compression.models.onnx.graph import OnnxModel

    generator = np.random.default_rng(0)
    as_it_is = "The file can be measured as it is, but no method can change it."
    try:
        data = {file.name: file for file in folder.iterdir()}
        module = OnnxModel(read_checked(folder / "model.onnx", data), data).eval()
        with torch.no_grad():
            for n_rows, scores in zip(_TRIED_ROWS, expected, strict=True):
                rows = trial_inputs(signature, n_rows, generator)
                batch = {key: torch.from_numpy(value) for key, value in rows.items()}
                ours = torch.sigmoid(module(batch)).numpy()
                if ours.shape != scores.shape or np.abs(ours - scores).max() > tolerance:
                    return f"RecPress reads this graph differently from {RUNTIMES[DEFAULT_RUNTIME].title}. {as_it_is}"
    except Unsupported as error:
        return f"{str(error)[:1].upper()}{str(error)[1:]}. {as_it_is}"
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError) as error:  # what torch says of a bad graph
        reason = " ".join(str(error).split())[:200]
        return f"RecPress can't run this graph ({reason}). {as_it_is}"
    return ""


def _describe(folder: Path) -> ModelDescription:
    try:
        return describe_read(read_onnx_folder(folder), folder.parent)
    except ExportError as error:
        raise ModelError(f"The model was read, but can't be written again: {error}") from None


def _said_probability(given: dict[str, Any], output: str) -> bool:
    form = given.get("output_form")
    if form not in (None, "probability", "logit"):
        raise ModelError(f"output_form of a binding is probability or logit; got {str(form)[:40]!r}.")
    return form == "probability" or (form is None and "prob" in output.lower())


def _description(data_folder: Path | None) -> Any:
    if data_folder is None:
        return None
    from compression.data.description import load_description

    return load_description(data_folder)
