"""A folder of Hugging Face or sentence-transformers: config.json, weights, and what modules.json puts behind them.

    files → settings, by whitelists of names → names of weights → shapes in the header → our encoder → model folder

Nothing is downloaded, and nothing named in the files is imported: families, activations and modules are looked up in
the lists below. Shapes are compared with the settings before a tensor is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from compression.importers.binding.proposal import ModelInput, bind
from compression.importers.description import describe_read
from compression.importers.hugging_face.settings import Encoder, read_settings
from compression.importers.hugging_face.static import ARCHITECTURE as STATIC
from compression.importers.hugging_face.static import is_static, read_static, static_weights
from compression.importers.hugging_face.weights import n_labels, read_weights
from compression.models.files import load_model, save_model
from compression.models.folder import LoadedModel
from compression.models.uploaded import build, parse_config
from compression.models.uploaded.params import SentenceEncoderParams, StaticEncoderParams
from compression.models.uploaded.sentence_encoder import input_names
from compression.spec.errors import ModelError
from compression.spec.records import ModelDescription
from compression.spec.signature import Input, Signature

_OUTPUTS = ("vector", "pair")
Params = SentenceEncoderParams | StaticEncoderParams


def read_hugging_face(files: dict[str, Path], weights: str, out: Path, *, given: dict[str, Any],
                      vocabularies: dict[str, list[str]], data_folder: Path | None) -> ModelDescription:
    """Write the model to `out`. `given`: a binding; its answers may say {"output": "vector"}, or "pair" for two texts a
    row, which a sentence encoder with data is taken for; and of two labels, which is the score.

    Raises ModelError for a family, a module or a setting that is not read, and for weights that don't fit them.
    """
    encoder = _settings(files, weights)
    params = _params(encoder, given, has_data=data_folder is not None)
    signature = _signature(params, encoder.token_rows, {key: value for key, value in given.items() if key != "answers"},
                           vocabularies, data_folder)
    config = params.model_dump(mode="json")
    positive = (given.get("answers") or {}).get("positive", 1)
    module = _assembled(encoder, signature, config, files, weights, positive)
    save_model(out, LoadedModel(module, signature, vocabularies, encoder.architecture, config))
    description = describe_read(load_model(out), out.parent)
    return description.model_copy(update={"notes": (
        *_notes(encoder, params), *_on_labels(encoder, files, weights, positive))})


def look_at_folder(files: dict[str, Path], weights: str) -> tuple[str, tuple[ModelInput, ...]]:
    """(what the folder holds, the inputs to be bound to the columns of data). Raises ModelError."""
    encoder = _settings(files, weights)
    return encoder.title, _inputs(_params(encoder, {}, has_data=True), encoder.token_rows)


def _settings(files: dict[str, Path], weights: str) -> Encoder:
    return read_static(files, weights) if is_static(files) else read_settings(files, weights)


def _inputs(params: Params, token_rows: int) -> tuple[ModelInput, ...]:
    rows = {"input_ids": token_rows, "attention_mask": 2, "token_type_ids": params.type_rows}
    return tuple(ModelInput(name, "int64", 0, {None: next(count for end, count in rows.items() if name.endswith(end))})
                 for name in input_names(params))


def _params(encoder: Encoder, given: dict[str, Any], *, has_data: bool) -> Params:
    answers = given.get("answers") or {}
    if not isinstance(answers, dict) or set(answers) - {"output", "positive"} or \
            answers.get("output", "vector") not in _OUTPUTS or answers.get("positive", 1) not in (0, 1):
        raise ModelError('Answers to an encoder of texts are {"answers": {"output": "vector"}}, or "pair" for the '
                         'cosine of two texts; a classifier of two labels has {"answers": {"positive": 1}}, the label '
                         "that the score is of.")
    settings = dict(encoder.settings)
    if settings["output"] != "score":  # rows with a label are pairs: a vector alone can't be held against it
        settings["output"] = answers.get("output", "pair" if has_data else "vector")
    elif answers.get("output") == "pair":
        raise ModelError("This model scores a text as a whole; it gives no vectors that two texts could be compared "
                         "by. Leave the answer out.")
    return parse_config(encoder.architecture, settings)


def _signature(params: Params, token_rows: int, given: dict[str, Any],
               vocabularies: dict[str, list[str]], data_folder: Path | None) -> Signature:
    """The inputs bound as lists; those of one text are as long as its ids."""
    names = input_names(params)
    choices = given.get("inputs")
    if choices is None or isinstance(choices, dict):
        choices = choices or {}
        whole = {name: {"max_length": params.length} | choices[name] if isinstance(choices.get(name), dict)
                 else choices.get(name, {"max_length": params.length}) for name in (*names, *choices)}
        given = given | {"inputs": whole}
    description = None
    if data_folder is not None:
        from compression.data.description import load_description

        description = load_description(data_folder)
    signature = bind(list(_inputs(params, token_rows)), given, description=description, vocabularies=vocabularies)
    vector = params.output == "vector"
    return signature.model_copy(update={
        "inputs": tuple(_as_long(item, names, params.length) for item in signature.inputs),
        "output": "vector" if vector else "score", "output_form": "vector" if vector else "probability"})


def _as_long(item: Input, names: Iterable[str], length: int) -> Input:
    """The list with the length of its text's ids, within what the places allow."""
    if item.kind != "multi" or (item.max_length or 0) > length:
        raise ModelError(f"Input {item.name!r} is a list of at most {length} tokens; the binding makes it a "
                         f"{item.kind} of {item.max_length}.")
    text = next((name for name in names if name.endswith("input_ids") and item.name.startswith(
        name.removesuffix("input_ids"))), "")
    return item.model_copy(update={"length_of": "" if item.name == text else text})


def _assembled(encoder: Encoder, signature: Signature, config: dict[str, Any], files: dict[str, Path], weights: str,
               positive: int) -> nn.Module:
    import torch

    with torch.device("meta"):  # shapes without memory
        module = build(encoder.architecture, signature, config)
    expected: dict[str, Tensor] = module.state_dict()
    found = static_weights(files, weights) if encoder.architecture == STATIC else \
        read_weights(encoder, expected, files, weights, positive=positive)
    module.load_state_dict(found, assign=True)
    module.architecture, module.config = encoder.architecture, config
    return module.eval()


def _notes(encoder: Encoder, params: Params) -> Iterable[str]:
    pooled = {"mean": "the mean of its tokens", "first": "its first token", "max": "the largest of its tokens"}
    width, layers, pool = params.embedding_dim, "", "mean"
    if isinstance(params, SentenceEncoderParams):
        layers, pool = f", {params.blocks.n_blocks} layers", params.pool
        width = params.dense[-1].widths[-1] if params.dense else width
    yield (f"{encoder.title}{layers}, texts of up to {params.length} tokens, each as "
           f"{pooled[pool]}{', of length 1' if params.normalize else ''}.")
    if params.output == "vector":
        yield (f"It gives a vector of {width} numbers a text: methods change it, it is exported, but no quality is "
               "measured. Bound to data with two texts a row, it is imported to score them by their cosine.")
    yield from encoder.notes


def _on_labels(encoder: Encoder, files: dict[str, Path], weights: str, positive: int) -> Iterable[str]:
    if encoder.settings["output"] == "score" and n_labels(encoder, files, weights) == 2:
        yield (f"It scores two labels: the score is the probability of label {positive} "
               f"({encoder.labels[positive]}) against label {1 - positive} ({encoder.labels[1 - positive]}). If the "
               f'other one is what you rank by, import again with {{"answers": {{"positive": {1 - positive}}}}}.')
