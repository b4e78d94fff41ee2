"""Static embeddings: a row a token, whose mean is the text. As sentence-transformers and model2vec write their folders.

model2vec may keep fewer rows than tokens (`mapping`: token → row) and a weight a token (`weights`); both go into the
table. Sources: sentence_transformers.models.StaticEmbedding; model2vec 0.10, model2vec/model.py.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from compression.importers.hugging_face.folder import STATIC_TABLES, is_lone_table
from compression.importers.hugging_face.settings import (
    CONFIG,
    MODULES,
    Encoder,
    kinds_of_modules,
    object_of,
    text_length,
)
from compression.importers.hugging_face.weights import Source
from compression.spec.errors import ModelError

ARCHITECTURE = "static_encoder"
_TABLES = tuple(sorted(STATIC_TABLES))
_WEIGHTS, _MAPPING = "weights", "mapping"
_LONGEST = 512  # where nothing says how long a text may be


def is_static(files: dict[str, Path]) -> bool:
    """Whether the folder says that its weights are static embeddings."""
    if MODULES in files:
        return [kind for kind, _ in kinds_of_modules(files)][:1] == ["StaticEmbedding"]
    return is_lone_table(files) or object_of(files, CONFIG).get("model_type") == "model2vec"


def read_static(files: dict[str, Path], weights: str) -> Encoder:
    """The settings, with the rows as the header of the weights has them. Raises ModelError."""
    config = object_of(files, CONFIG) if CONFIG in files else {}
    kinds = [kind for kind, _ in kinds_of_modules(files)] if MODULES in files else \
        ["StaticEmbedding", *["Normalize"] * (config.get("normalize") is True)]
    if kinds not in (["StaticEmbedding"], ["StaticEmbedding", "Normalize"]):
        raise ModelError(f"{MODULES} puts {', '.join(kind[:60] for kind in kinds)} in a row; behind static embeddings "
                         "Normalize alone is read. Export the model to ONNX.")
    shapes = Source(files, weights).shapes
    tables = [name for name in _TABLES if len(shapes.get(name, ())) == 2]
    strange = sorted(set(shapes) - {*tables, _WEIGHTS, _MAPPING})
    if len(tables) != 1 or strange:
        raise ModelError(f"{weights} holds {', '.join(sorted(shapes))[:200]}; static embeddings are one table, named "
                         f"{' or '.join(_TABLES)}. Export the model to ONNX.")
    n_rows, width = shapes[tables[0]]
    n_tokens = shapes[_MAPPING][0] if len(shapes.get(_MAPPING, ())) == 1 else n_rows
    said = next((config[key] for key in ("max_length", "seq_length") if type(config.get(key)) is int
                 and config[key] > 0), _LONGEST)
    settings = {"embedding_dim": width, "length": text_length(files, min(said, 65_536)), "output": "vector",
                "normalize": "Normalize" in kinds}
    return Encoder("static", "Static embeddings", n_tokens, settings, architecture=ARCHITECTURE)


def static_weights(files: dict[str, Path], weights: str) -> dict[str, Tensor]:
    """The table, a row a token. Raises ModelError for numbers that are not finite or rows that are not there."""
    source = Source(files, weights)
    table = source.tensor(next(name for name in _TABLES if name in source.shapes))
    if _MAPPING in source.shapes:
        rows = source.get(_MAPPING)
        if rows.dim() != 1 or rows.is_floating_point() or not bool(((rows >= 0) & (rows < len(table))).all()):
            raise ModelError(f"{_MAPPING} in {weights} names rows that {', '.join(_TABLES)} don't have. Save the model "
                             "again.")
        table = table[rows.to(torch.int64)]
    if _WEIGHTS in source.shapes:
        factors = source.tensor(_WEIGHTS)
        if factors.shape != (len(table),):
            raise ModelError(f"{_WEIGHTS} in {weights} has {factors.numel():,} numbers for {len(table):,} tokens. Save "
                             "the model again.")
        table = table * factors.unsqueeze(-1)
    return {"token.weight": table}
