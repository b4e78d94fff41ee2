"""Click models of DeepCTR-Torch and torch-rechub, by the names that these libraries give to their weights.

What the names settle isn't asked. Parts of theirs that have no counterpart here are named, and nothing is left out.
Sources: DeepCTR-Torch 0.3, deepctr_torch/models and layers; torch-rechub 0.9, torch_rechub/models/ranking and basic.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from compression.importers.checkpoint.field_rankers import recognise_fields
from compression.importers.checkpoint.recognised import Field, Recognised, Settings
from compression.importers.checkpoint.skeleton import Leaf
from compression.spec.errors import ModelError
from compression.spec.records import Question

_SETTLED = {"mlp.last": "activated", "mlp.batch_norm": "before", "output_order": "cross first",
            "numbers_place": "last"}
_PAIRS = Question(key="pairs", choices=(True, False), answer=True,
                  text="Are the dot products of all pairs of fields added (DeepFM), or not (Wide & Deep)?")
_SOME = "some fields"
_ONE_ORDER = ("The linear part and the network are taken to read the fields in the order of the tables. If they were "
              "given their features in different orders, export the model to ONNX or .pt2 instead.")


@dataclass(frozen=True)
class _Library:
    """How a library is known, and which of its parts are read."""

    title: str
    tables: str  # what the paths of its tables begin with
    known: re.Pattern[str]  # the paths that are read
    read: str  # its models of these parts


_DEEPCTR = _Library("DeepCTR-Torch", "embedding_dict.", re.compile(
    r"embedding_dict\.[^.]+|linear_model(\.embedding_dict\.[^.]+)?|dnn\.(linears|bn)\.\d+|dnn_linear|out\.bias|"
    r"crossnet\.(kernels|bias)"), "DeepFM, WDL and DCN")
_RECHUB = _Library("torch-rechub", "embedding.embed_dict.", re.compile(
    r"embedding\.embed_dict\.[^.]+|linear\.fc|(mlp|parallel_dnn|stacked_dnn)\.mlp\.\d+|(cn|crossnet)\.[wb]\.\d+"),
    "DeepFM, WideDeep, DCN, and DCNv2 with use_low_rank_mixture=False")


def recognise_deepctr(leaves: tuple[Leaf, ...], settings: Settings) -> Recognised | None:
    """DeepFM, WDL and DCN of DeepCTR-Torch; None for weights under other names. Raises ModelError."""
    paths = {leaf.path: leaf for leaf in leaves}
    if "out.bias" not in paths or not any(path.startswith(_DEEPCTR.tables) for path in paths):
        return None
    tables = _tables(leaves, _DEEPCTR, settings)
    first = {path.rpartition(".")[2]: leaf for path, leaf in paths.items()
             if path.startswith("linear_model.embedding_dict.")}
    if first and set(first) != set(tables):
        odd = sorted(set(first) ^ set(tables))
        raise ModelError(f"The linear part and the network of this model of DeepCTR-Torch read other fields (differing "
                         f"in {', '.join(odd)[:200]}), which RecPress can't rebuild. Export the model to ONNX or .pt2.")
    dense = paths.get("linear_model")
    rest = [leaf for leaf in leaves if not leaf.path.startswith(("linear_model", "crossnet."))]
    rest += [first[name] for name in tables if first]  # in the order of the vectors
    kernels, biases = paths.get("crossnet.kernels"), paths.get("crossnet.bias")
    if kernels is not None and biases is not None:
        rest += [_cross(f"crossnet.{place}", matrix if matrix.shape[1] > 1 else matrix.T, bias.reshape(-1),
                        after=matrix.shape[1] == 1)
                 for place, (matrix, bias) in enumerate(zip(kernels.weight, biases.weight, strict=True))]
    wide = None if dense is None else dense.weight.T
    found = _recognised(_DEEPCTR, rest, settings, None if wide is None else wide.shape[1])
    if wide is not None:
        _add_wide(found, {"weight": wide}, settings)
    return _titled(found, _DEEPCTR, "WDL")


def recognise_rechub(leaves: tuple[Leaf, ...], settings: Settings) -> Recognised | None:
    """DeepFM, WideDeep, DCN and DCNv2 of torch-rechub; None for weights under other names. Raises ModelError.

    Its linear part reads the vectors themselves, or numbers beside the network; both are layers of one output.
    """
    paths = {leaf.path: leaf for leaf in leaves}
    if "linear.fc" not in paths or not any(path.startswith(_RECHUB.tables) for path in paths):
        return None
    tables, linear = _tables(leaves, _RECHUB, settings), paths["linear.fc"]
    crosses = [(matrix, paths.get(path.replace(".w.", ".b."))) for path, matrix in paths.items()
               if re.fullmatch(r"(cn|crossnet)\.w\.\d+", path)]
    rest = [leaf for leaf in leaves if not leaf.path.startswith(("cn.", "crossnet."))]
    rest += [_cross(f"cross.{place}", matrix.weight, bias.weight.reshape(-1), after=True)
             for place, (matrix, bias) in enumerate(crosses) if bias is not None]
    if crosses:
        return _titled(_recognised(_RECHUB, rest, settings), _RECHUB, "")
    found = _recognised(_RECHUB, [leaf for leaf in rest if leaf is not linear], settings)
    part = _linear_reads(found, linear.n_in, sum(table.shape[1] for table in tables.values()), settings)
    found.notes += (_ONE_ORDER,)
    if part == "numbers":
        _add_wide(found, linear.tensors, settings)
        return _titled(found, _RECHUB, "WideDeep")
    found.config["linear"] = part
    found.weights |= {f"linear.{name}": tensor for name, tensor in linear.tensors.items()}
    if part == "vectors":  # a DeepFM keeps no numbers there
        found.config["pairs"] = settings.get("pairs", True)
        found.questions += (_PAIRS,)
    return _titled(found, _RECHUB, "WideDeep")


def _linear_reads(found: Recognised, width: int, n_vectors: int, settings: Settings) -> str:
    """What the linear part of torch-rechub reads, by its width; asked where that fits several. Raises ModelError."""
    n_numbers = sum(one.kind == "number" for one in found.fields)
    some = found.config["embedding_dim"]
    fits = {"vectors": width == n_vectors, "all": n_numbers and width == n_vectors + n_numbers,
            "numbers": n_numbers in (0, width), _SOME: width < n_vectors and width % some == 0}
    fitting = tuple(part for part, is_so in fits.items() if is_so)
    part = settings.get("linear_reads", fitting[0]) if len(fitting) > 1 else fitting[0] if fitting else _SOME
    if part == _SOME:
        raise ModelError(f"The linear part of this model of torch-rechub reads {width:,} values, its tables have "
                         f"{n_vectors:,} and its network reads {n_numbers:,} numbers: it reads other features than the "
                         "network, which RecPress can't rebuild. Export the model to ONNX or .pt2.")
    if len(fitting) > 1:
        found.questions += (Question(
            key="linear_reads", choices=fitting, answer=fitting[0],
            text=f"What are the {width} values that linear.fc reads: the vectors of all fields (vectors), with the "
                 "numbers (all), numbers of the data alone (numbers), or the vectors of some fields?"),)
    return part


def _tables(leaves: tuple[Leaf, ...], library: _Library, settings: Settings) -> dict[str, Tensor]:
    """Feature → its table, in the file's order, which names the fields. Raises ModelError for a part that isn't read.
    """
    odd = list(dict.fromkeys(re.sub(r"\.\d+\b.*", "", leaf.path) for leaf in leaves
                             if not library.known.fullmatch(leaf.path)))
    if odd:
        raise ModelError(f"These are weights of {library.title}, with parts that RecPress can't rebuild: "
                         f"{', '.join(odd[:5])[:200]}. Read from {library.title} are {library.read}, with activations "
                         "that have no weights. Export the model to ONNX or .pt2.")
    tables = {leaf.path.removeprefix(library.tables): leaf.weight for leaf in leaves
              if leaf.path.startswith(library.tables)}
    settings.came |= _SETTLED | {"fields": list(tables)}
    return tables


def _cross(path: str, weight: Tensor, bias: Tensor, *, after: bool) -> Leaf:
    return Leaf(path, "cross", {"weight": weight, "added" if after else "bias": bias})


def _recognised(library: _Library, leaves: list[Leaf], settings: Settings, n_numbers: int | None = None) -> Recognised:
    """The parts that models of any source have. Raises ModelError where they don't fit together."""
    settings.came |= {"beside": "numbers"} if n_numbers else {}
    found = recognise_fields(tuple(leaves), settings)
    if found is None:
        raise ModelError(f"These are weights of {library.title} by their names, but their shapes don't fit together as "
                         f"those of {library.read} do, or the tables are of several widths. Export the model to ONNX "
                         "or .pt2.")
    return found


def _add_wide(found: Recognised, tensors: dict[str, Tensor], settings: Settings) -> None:
    """A layer over the numbers alone, beside the network. Raises ModelError where the network reads other numbers."""
    n_wide = tensors["weight"].shape[1]
    n_numbers = sum(one.kind == "number" for one in found.fields)
    if n_numbers not in (0, n_wide):
        raise ModelError(f"The linear part reads {n_wide} numbers and the network {n_numbers}, and nothing says which. "
                         "Export the model to ONNX or .pt2.")
    if not n_numbers:
        said = settings.get("numbers", ())
        names = list(said) if len(said) == n_wide else [f"number_{place}" for place in range(n_wide)]
        found.fields += tuple(Field(name, "number") for name in names)
        found.questions += (Question(key="numbers", answer=names,
                                     text=f"Which {n_wide} columns of numbers are read, in this order?"),)
    found.config |= {"wide": True, "wide_bias": "bias" in tensors}
    found.weights |= {f"wide.{name}": tensor for name, tensor in tensors.items()}


def _titled(found: Recognised, library: _Library, plain: str) -> Recognised:
    kind = "DCN" if found.config["cross_layers"] else f"DeepFM or {plain}" if found.config["pairs"] else plain
    found.title = f"{kind or found.title} of {library.title}"
    return found


LIBRARIES: tuple[Callable[[tuple[Leaf, ...], Settings], Recognised | None], ...] = (recognise_deepctr, recognise_rechub)
