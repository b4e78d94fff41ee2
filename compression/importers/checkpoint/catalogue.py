"""The recognisers, most particular first: each says what weights are, as the first bytes say what a file is."""

from __future__ import annotations

from collections import Counter

from torch import Tensor

from compression.importers.checkpoint.attention import recognise_attention
from compression.importers.checkpoint.click_libraries import LIBRARIES
from compression.importers.checkpoint.field_rankers import recognise_fields
from compression.importers.checkpoint.joint import recognise_joint
from compression.importers.checkpoint.others import (
    recognise_recurrent,
    recognise_text_cnn,
    recognise_towers,
)
from compression.importers.checkpoint.pairs import recognise_pair
from compression.importers.checkpoint.recognised import Recognised, Settings
from compression.importers.checkpoint.skeleton import Leaf, leaves_of
from compression.spec.errors import ModelError

RECOGNISERS = (*LIBRARIES, recognise_attention, recognise_recurrent, recognise_text_cnn, recognise_towers,
               recognise_pair, recognise_joint, recognise_fields)
MAX_LEAVES = 5000
KNOWN = ("matrix factorisation, LightGCN, GMF, NeuMF, LR, FM, DeepFM, Wide & Deep, DCN (v2), DLRM, two towers, SASRec, "
         "GRU4Rec, cross-encoders of one token table, and convolutions over tokens")
_KINDS = {"table": "table", "linear": "dense layer", "batch_norm": "batch norm", "layer_norm": "layer norm",
          "conv": "convolution", "attention": "attention", "gru": "GRU", "tensor": "other tensor"}


def recognise(state: dict[str, Tensor], name: str, settings: Settings) -> Recognised:
    """What the weights are. Raises ModelError that lists what was found where no recogniser knows them."""
    leaves = leaves_of(state)
    if len(leaves) <= MAX_LEAVES:
        for recogniser in RECOGNISERS:
            found = recogniser(leaves, settings)
            if found is not None:
                return found
    raise ModelError(f"{name} has no config.json of ours beside it, and its weights are no family that is recognised: "
                     f"they hold {_counted(leaves)}. Recognised are {KNOWN}. Upload the config.json that RecPress "
                     "wrote with the weights, or export the model to ONNX or .pt2.")


def _counted(leaves: tuple[Leaf, ...]) -> str:
    counts = Counter(leaf.kind for leaf in leaves)
    odd = [leaf.path[:60] for leaf in leaves if leaf.kind == "tensor"][:3]
    said = ", ".join(f"{count} {_KINDS[kind]}{'s' if count > 1 else ''}" for kind, count in counts.items())
    return said + (f" ({', '.join(odd)})" if odd else "")
