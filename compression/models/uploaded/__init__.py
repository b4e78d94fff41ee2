"""Architectures of other people's weights: the families that a state dict is recognised as, each of ordinary leaves.

    model = build("pair", signature, {"product_dim": 8, "output": "joined"})

They stand beside the zoo, not in it: nobody trains one here from nothing, but one that came as weights is changed,
measured and exported like every other model. Reading the catalogue loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from compression.models import zoo
from compression.models.uploaded.params import (
    FieldRankerParams,
    PairParams,
    RecurrentParams,
    SentenceEncoderParams,
    SequenceParams,
    StaticEncoderParams,
    TextCNNParams,
    TextEncoderParams,
    TowersParams,
)
from compression.models.zoo import Architecture
from compression.spec.errors import ModelError
from compression.spec.method import Params
from compression.spec.signature import Signature

if TYPE_CHECKING:
    from torch import nn

FOREIGN: dict[str, Architecture] = {item.key: item for item in (
    Architecture("pair", "Pair", "User–item factors",
                 "Products of a user's and an item's vector, beside a network over both.",
                 PairParams, "Koren et al. 2009; He et al. 2017, arXiv:1708.05031"),
    Architecture("field_ranker", "FieldRanker", "Field ranker",
                 "Vectors of fields through any of: first order, pairs, dot products, cross layers, a network.",
                 FieldRankerParams, "Guo et al. 2017, arXiv:1703.04247; Wang et al. 2021, arXiv:2008.13535"),
    Architecture("towers", "Towers", "Two towers",
                 "A network for the user and one for the item, compared by their cosine or dot product.",
                 TowersParams, "Huang et al. 2013, CIKM"),
    Architecture("sequence", "Sequence", "Self-attentive history",
                 "Attention over a history; its last state against the candidate item.",
                 SequenceParams, "Kang & McAuley 2018, arXiv:1808.09781"),
    Architecture("recurrent", "Recurrent", "Recurrent history",
                 "A GRU over a history; its last state against the candidate item.",
                 RecurrentParams, "Hidasi et al. 2016, arXiv:1511.06939"),
    Architecture("text_encoder", "TextEncoder", "Transformer over tokens",
                 "Attention over the tokens of a pair, and one score.",
                 TextEncoderParams, "Nogueira & Cho 2019, arXiv:1901.04085"),
    Architecture("sentence_encoder", "SentenceEncoder", "Sentence encoder",
                 "BERT over the tokens of a text, pooled to a vector or a score.",
                 SentenceEncoderParams,
                 "Devlin et al. 2019, arXiv:1810.04805; Reimers & Gurevych 2019, arXiv:1908.10084"),
    Architecture("static_encoder", "StaticEncoder", "Static embeddings",
                 "The mean of the rows of a text's tokens, as a vector.",
                 StaticEncoderParams,
                 "Reimers & Gurevych 2019, arXiv:1908.10084; Tulkens & van Dongen 2024, model2vec"),
    Architecture("text_cnn", "TextCNN", "Convolutions over tokens",
                 "Filters slide over tokens; the largest answer of each is kept.",
                 TextCNNParams, "Kim 2014, arXiv:1408.5882"),
)}


def parse_config(key: str, config: dict[str, Any]) -> Params:
    """Validated settings of an architecture of the zoo or of a foreign one. Raises ModelError."""
    if key not in FOREIGN:
        return zoo.parse_config(key, config)
    try:
        return FOREIGN[key].params.model_validate(config)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:3])
        raise ModelError(f"The settings of {key} can't be read: {said}.") from None


def build(key: str, signature: Signature, config: dict[str, Any] | None = None, *, seed: int = 0) -> nn.Module:
    """A fresh model of the zoo or of a foreign architecture: forward({input: tensor}) → (B,) logits.

    Raises ModelError for settings out of bounds, or a signature the architecture can't read.
    """
    if key not in FOREIGN:
        return zoo.build(key, signature, config, seed=seed)
    params = parse_config(key, config or {})
    import torch

    model_class = getattr(importlib.import_module(f"{__name__}.{key}"), FOREIGN[key].name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = model_class(signature, params)
    model.architecture, model.config = key, params.model_dump(mode="json")
    return model


def title_of(key: str) -> str:
    """What people call an architecture; the key itself for one that is in no catalogue."""
    known = {**zoo.ARCHITECTURES, **FOREIGN}
    return known[key].title if key in known else key
