"""Weights of a Hugging Face folder under the names of our encoder: names and shapes first, numbers afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from compression.importers.checkpoint.safetensors_file import safetensors_metadata
from compression.importers.hugging_face.folder import shards_of
from compression.importers.hugging_face.settings import Encoder
from compression.spec.errors import ModelError

_BERT_BLOCK = {
    "attention.query": "attention.self.query", "attention.key": "attention.self.key",
    "attention.value": "attention.self.value", "attention.out": "attention.output.dense",
    "first_norm": "attention.output.LayerNorm", "widen": "intermediate.dense", "narrow": "output.dense",
    "second_norm": "output.LayerNorm"}
_DISTIL_BLOCK = {
    "attention.query": "attention.q_lin", "attention.key": "attention.k_lin", "attention.value": "attention.v_lin",
    "attention.out": "attention.out_lin", "first_norm": "sa_layer_norm", "widen": "ffn.lin1", "narrow": "ffn.lin2",
    "second_norm": "output_layer_norm"}
_TOP = {"token": "embeddings.word_embeddings", "place": "embeddings.position_embeddings",
        "kind": "embeddings.token_type_embeddings", "embedding_norm": "embeddings.LayerNorm"}
_HEADS = {"bert": ("pooler.dense", "classifier"), "distilbert": ("pre_classifier", "classifier")}
_OTHER_HEADS = ("classifier.dense", "classifier.out_proj")  # RoBERTa and its like
_LEFT_OUT = re.compile(r"(embeddings\.(position_ids|token_type_ids)|pooler\..*|cls\..*|lm_head\..*|vocab_.*)")
_TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_OLD = {"weight": "gamma", "bias": "beta"}  # of norms, in the first BERT files


def n_labels(encoder: Encoder, files: dict[str, Path], weights: str) -> int:
    """How many answers the last layer of a classifier gives, as the header of the weights has it."""
    source = Source(files, weights)
    return next(iter(source.shapes.get(_named("output.bias", encoder, source.names)[1], (1,))), 1)


def read_weights(encoder: Encoder, expected: dict[str, Tensor], files: dict[str, Path], weights: str, *,
                 positive: int = 1) -> dict[str, Tensor]:
    """Our name → float32 tensor, for every name of `expected` (on meta). Raises ModelError before memory is taken.

    Of a classifier of two labels, the last layer gives the logit of the label `positive` less the other's.
    """
    sources = {"": Source(files, weights)}
    for folder in encoder.dense_folders:
        found = next((name for name in (f"{folder}.model.safetensors", f"{folder}.pytorch_model.bin") if name in files),
                     f"{folder}.model.safetensors")
        sources[folder] = Source(files, found)
    taken: dict[str, set[str]] = {folder: set() for folder in sources}
    places, differences = {}, set()
    for ours, tensor in expected.items():
        folder, theirs = _named(ours, encoder, sources[""].names)
        source = sources[folder]
        if theirs not in source.shapes:
            raise ModelError(f"{source.file} has no {theirs!r}, which its settings ask for. Save the whole model "
                             "again.")
        if ours.startswith("output.") and source.shapes[theirs][:1] != (1,):
            shape = (2, *tensor.shape[1:])
            if source.shapes[theirs] != shape:
                raise ModelError(f"{source.file} scores {source.shapes[theirs][0]} labels; models of one score, or of "
                                 "two labels, are read. Export the model to ONNX with the score you rank by.")
            differences.add(ours)
        elif source.shapes[theirs] != tuple(tensor.shape):
            raise ModelError(f"{theirs} in {source.file} has shape {_times(source.shapes[theirs])}; the settings ask "
                             f"for {_times(tensor.shape)}.")
        taken[folder].add(theirs)
        places[ours] = (source, theirs)
    for folder, source in sources.items():
        strange = sorted(name for name in source.names - taken[folder]
                         if not _LEFT_OUT.fullmatch(_without_prefix(name, encoder.family)))
        if strange:
            raise ModelError(f"{source.file} holds {', '.join(strange[:3])[:200]}, which no encoder of this family "
                             "has: its answers would be wrong. Export the model to ONNX.")
    found = {ours: source.tensor(theirs) for ours, (source, theirs) in places.items()}
    return found | {ours: found[ours][positive:positive + 1] - found[ours][1 - positive:2 - positive]
                    for ours in differences}


class Source:
    """A file of weights, or all shards of one: shapes from the headers, tensors when they are asked for."""

    def __init__(self, files: dict[str, Path], file: str) -> None:
        if file not in files:
            raise ModelError(f"{file} was not uploaded. Upload the whole folder as a zip.")
        self.file = file
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.kinds: dict[str, str] = {}
        self._of: dict[str, Callable[[str], Tensor]] = {}
        shards = shards_of(files, file)
        said = re.search(r"-of-(\d{5})\.", file)
        if said and len(shards) != int(said[1]):
            raise ModelError(f"{file} is one of {int(said[1])} shards, of which {len(shards)} came. Upload all of "
                             "them.")
        for shard in shards:
            (self._open_safetensors if shard.endswith(".safetensors") else self._open_checkpoint)(files[shard], shard)
        self.names = set(self.shapes)

    def _open_checkpoint(self, path: Path, name: str) -> None:
        from compression.importers.checkpoint.torch_file import read_torch_file, weights_of

        state = weights_of(read_torch_file(path, name))
        self.shapes |= {key: tuple(one.shape) for key, one in state.items()}
        self._of |= dict.fromkeys(state, state.__getitem__)

    def _open_safetensors(self, path: Path, name: str) -> None:
        from safetensors import SafetensorError, safe_open

        safetensors_metadata(path, name)
        try:
            opened = safe_open(path, framework="pt")
            parts = {key: opened.get_slice(key) for key in opened.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{name} is not a whole safetensors file ({error}). It is truncated or of another "
                             "format; save it again.") from None
        self.shapes |= {key: tuple(part.get_shape()) for key, part in parts.items()}
        self.kinds |= {key: part.get_dtype() for key, part in parts.items()}
        self._of |= dict.fromkeys(parts, opened.get_tensor)

    def get(self, name: str) -> Tensor:
        """A tensor as it is stored."""
        return self._of[name](name)

    def tensor(self, name: str) -> Tensor:
        """A float32 tensor of its own memory. Raises ModelError for NaN and infinity."""
        if self.kinds.get(name, "F32") not in _TYPES:
            raise ModelError(f"{name} in {self.file} is stored as {self.kinds[name]}; {', '.join(_TYPES)} are read.")
        tensor = self.get(name)
        if not tensor.is_floating_point():
            raise ModelError(f"{name} in {self.file} holds {str(tensor.dtype).removeprefix('torch.')}; numbers are "
                             "needed.")
        tensor = tensor.to(torch.float32, copy=True).contiguous()
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{name} in {self.file} has values that are NaN or infinite. Take another checkpoint.")
        return tensor


def _named(ours: str, encoder: Encoder, names: set[str]) -> tuple[str, str]:
    """(folder, name in its file) of one of our weights."""
    path, _, last = ours.rpartition(".")
    first, _, rest = path.partition(".")
    number, _, inner = rest.partition(".")
    if first == "dense":
        return encoder.dense_folders[int(number)], f"linear.{last}"
    if first == "blocks":
        distil = encoder.family == "distilbert"
        block = (_DISTIL_BLOCK if distil else _BERT_BLOCK)[inner]
        theirs = f"{'transformer' if distil else 'encoder'}.layer.{number}.{block}"
    elif first in ("pool_layer", "output"):
        theirs = _HEADS.get(encoder.family, _OTHER_HEADS)[first == "output"]
    else:
        theirs = _TOP[first]
    return "", next(_spellings(theirs, last, encoder.family, names), f"{theirs}.{last}")


def _spellings(theirs: str, last: str, family: str, names: set[str]) -> Iterable[str]:
    """The ways a file may write a name, those that it has: with the family's prefix, norms in the old words."""
    for prefix in ("", f"{_prefix(family)}."):
        for ending in (last, _OLD[last]):
            if f"{prefix}{theirs}.{ending}" in names:
                yield f"{prefix}{theirs}.{ending}"


def _prefix(family: str) -> str:
    return "roberta" if family in ("xlm-roberta", "camembert") else family


def _without_prefix(name: str, family: str) -> str:
    return name.removeprefix(f"{_prefix(family)}.")


def _times(shape: Iterable[int]) -> str:
    return " × ".join(map(str, shape)) or "one number"
