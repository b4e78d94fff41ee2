"""The zoo's catalogue: which architectures there are and what can be set. Building one loads torch, reading doesn't.

    model = build("deepfm", dataset.signature, {"embedding_dim": 8}, seed=0)
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from compression.models.zoo.params import (
    DCNv2Params,
    DeepFMParams,
    DLRMParams,
    DNNParams,
    FieldConvParams,
    FinalMLPParams,
    FMParams,
    LRParams,
    WideDeepParams,
)
from compression.spec.errors import ModelError
from compression.spec.method import Params, bounds_text
from compression.spec.signature import Signature

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Architecture:
    """An architecture of the zoo: class `name` in the file compression/models/zoo/<key>.py."""

    key: str
    name: str
    title: str
    summary: str
    params: type[Params]
    source: str


ARCHITECTURES: dict[str, Architecture] = {item.key: item for item in (
    Architecture("deepfm", "DeepFM", "DeepFM",
                 "Pairwise interactions and a deep network over the same vectors.",
                 DeepFMParams, "Guo et al. 2017, arXiv:1703.04247"),
    Architecture("dcnv2", "DCNv2", "DCN v2",
                 "Cross layers multiply the inputs with themselves, beside or below a deep network.",
                 DCNv2Params, "Wang et al. 2021, arXiv:2008.13535"),
    Architecture("dlrm", "DLRM", "DLRM",
                 "Dot products between all vectors, with an MLP for numbers below and one above.",
                 DLRMParams, "Naumov et al. 2019, arXiv:1906.00091"),
    Architecture("widedeep", "WideDeep", "Wide & Deep",
                 "A linear part that remembers ids beside a deep part that generalises.",
                 WideDeepParams, "Cheng et al. 2016, arXiv:1606.07792"),
    Architecture("finalmlp", "FinalMLP", "FinalMLP",
                 "Two deep networks over the same vectors, whose outputs are multiplied.",
                 FinalMLPParams, "Mao et al. 2023, arXiv:2304.00902"),
    Architecture("dnn", "DNN", "DNN",
                 "A plain deep network over the vectors of all fields.",
                 DNNParams, "Covington et al. 2016, RecSys"),
    Architecture("fieldconv", "FieldConv", "Field convolutions",
                 "Filters slide over neighbouring fields, and a deep network reads what they find.",
                 FieldConvParams, "Liu et al. 2015, CIKM; Kim 2014, arXiv:1408.5882"),
    Architecture("fm", "FM", "Factorisation machine",
                 "A weight for each id and a dot product for each pair of fields.",
                 FMParams, "Rendle 2010, ICDM"),
    Architecture("lr", "LR", "Logistic regression",
                 "One weight for each id: the floor every other model has to beat.",
                 LRParams, "Richardson et al. 2007, WWW"),
)}


def parse_config(key: str, config: dict[str, Any]) -> Params:
    """Validated settings of an architecture. Raises ModelError naming the setting, what was got and what is allowed."""
    if key not in ARCHITECTURES:
        raise ModelError(f"There is no architecture {key!r} in the zoo; known: {', '.join(sorted(ARCHITECTURES))}.")
    params = ARCHITECTURES[key].params
    try:
        return params(**config)
    except ValidationError as error:
        raise ModelError(" ".join(_sentence(key, params, item) for item in error.errors())) from None


def build(key: str, signature: Signature, config: dict[str, Any] | None = None, *, seed: int = 0,
          embedding_std: float | None = None) -> nn.Module:
    """A fresh model: forward({input: tensor}) → (B,) logits. Same seed, same weights; it knows its `config`.

    `embedding_std`: standard deviation of the vectors and weights of ids, 0.01 unless given. The global generator is
    left as it was. Raises ModelError for an unknown architecture, a setting out of bounds, or a signature without
    inputs.
    """
    params = parse_config(key, config or {})
    if not signature.inputs:
        raise ModelError(f"{key} needs at least one input; the signature has none. "
                         "Give a column a role on the Datasets page.")
    import torch

    architecture = ARCHITECTURES[key]
    model_class = getattr(importlib.import_module(f"{__name__}.{key}"), architecture.name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = model_class(signature, params)
    if embedding_std is not None:
        model.rescale_tables(embedding_std)
    model.architecture, model.config = key, params.model_dump(mode="json")
    return model


def _sentence(key: str, params: type[Params], item: Any) -> str:
    name = str(item["loc"][0]) if item["loc"] else "settings"
    if item["type"] == "extra_forbidden":
        return f"{key} has no setting {name}; it has: {', '.join(params.model_fields) or 'none'}."
    return f"{name} of {key} must be {bounds_text(params, name) or item['msg']}; got {item['input']!r}."
