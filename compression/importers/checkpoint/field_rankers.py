"""Recognise click models of fields: LR, FM, DeepFM, Wide & Deep, DCN v2, DLRM."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from compression.importers.checkpoint.field_tables import FIELD_SIZES, FieldTables, read_field_tables
from compression.importers.checkpoint.recognised import (
    OUTPUT_FORM,
    Field,
    Recognised,
    Settings,
    Untold,
    chain_parts,
    with_bias,
)
from compression.importers.checkpoint.skeleton import Leaf, chained, of_kind
from compression.spec.errors import ModelError
from compression.spec.records import Question

_TITLES = {"lr": "logistic regression", "fm": "factorisation machine", "deepfm": "DeepFM or Wide & Deep",
           "dcn": "DCN v2", "dlrm": "DLRM", "deep": "network over fields"}


def recognise_fields(leaves: tuple[Leaf, ...], settings: Settings) -> Recognised | None:
    """A model of fields by its tables and the widths of its dense layers; None where anything doesn't fit."""
    tables = read_field_tables(leaves, settings)
    if tables is None:
        return None
    crossed, left = _cross_layers(tables.left)
    linears, norms = of_kind(left, "linear"), of_kind(left, "batch_norm")
    biases = [leaf for leaf in of_kind(left, "tensor") if leaf.weight.numel() == 1]
    if len(biases) > 1 or len(linears) + len(norms) + len(biases) != len(left):
        return None
    config: dict[str, Any] = {
        "embedding_dim": tables.dim, "vectors": tables.has_vectors, "first_order": tables.first_order,
        "numbers": "vectors" if tables.number_vectors else "none", "pooling": "mean", "skip_padding": True,
        "bias": bool(biases), "cross_layers": len(crossed)}
    weights = dict(tables.weights)
    if biases:
        weights["bias.bias"] = biases[0].weight.reshape(1)
    for place, layer in enumerate(crossed):
        weights |= with_bias(f"cross.{place}", layer)
        if "added" in layer.tensors:
            config["cross_form"] = "vector" if layer.n_out == 1 else "added"
            weights[f"cross_added.{place}.bias"] = layer.tensors["added"]
    asked = list(tables.questions)
    if linears:
        _explain_one_table(tables, linears, settings)
        wide, linears, questions = _wide_layer(linears, settings)
        asked += questions
        deep = _deep_part(tables, crossed, linears, norms, settings)
        if deep is None:
            return None
        more, parts, questions, n_numbers = deep
        config |= more
        weights |= parts
        asked += questions
        if wide is not None:
            if n_numbers not in (0, wide.n_in):
                return None
            config |= {"wide": True, "wide_bias": "bias" in wide.tensors}
            weights |= with_bias("wide", wide)
            n_numbers = wide.n_in
        names = settings.get("numbers", ())
        names = names if len(names) == n_numbers else [f"number_{place}" for place in range(n_numbers)]
        tables.fields += [Field(name, "number") for name in names]
        if n_numbers:
            asked.append(Question(key="numbers", text=f"Which {n_numbers} columns of numbers are read, in this order?",
                                  answer=list(names)))
    elif crossed or norms:
        return None
    _ask_pairs(config, tables, asked, settings)
    _refuse_constant(config, tables)
    return Recognised("field_ranker", _title(config), config, tuple(tables.fields), weights, (*asked, OUTPUT_FORM))


def _wide_layer(linears: list[Leaf], settings: Settings) -> tuple[Leaf | None, list[Leaf], list[Question]]:
    """(the layer over the numbers alone, the other layers, what was asked).

    Beside a network that ends in one score, a layer to one score reads something else than the network; of one input,
    it may read that score too, which is asked.
    """
    chains = chained(linears)
    ended = [one for one in chains if one[-1].n_out == 1 and (len(one) > 1 or one[0].named("mlp|dnn|deep"))]
    single = [one[0] for one in chains if one[-1].n_out == 1 and one not in ended and len(one) == 1]
    if len(ended) != 1 or len(single) != 1 or len(chains) != 2:
        return None, linears, []
    wide, asked = single[0], []
    if wide.n_in == 1:
        guess = "numbers" if wide.named("linear|wide|num|dense|cont|lr|bias") or linears[0] is wide else "network"
        reads = settings.get("linear_reads", guess)
        asked.append(Question(key="linear_reads", choices=("numbers", "network"), answer=guess,
                              text=f"What does {wide.path} read: a number of the data, beside the network, or the "
                                   "network's score?"))
        if reads != "numbers":
            return None, linears, asked
    return wide, [leaf for leaf in linears if leaf is not wide], asked


def _cross_layers(left: list[Leaf]) -> tuple[list[Leaf], list[Leaf]]:
    """Square layers called cross, as dense layers, and the other leaves. RecBole keeps matrices and biases apart.

    Where a library's names say what they are, they come as leaves of the kind `cross`.
    """
    if told := of_kind(left, "cross"):
        return told, [leaf for leaf in left if leaf not in told]
    named = [leaf for leaf in left if leaf.kind in ("linear", "tensor") and leaf.named("cross")
             and leaf.weight.dim() == 2 and leaf.n_in == leaf.n_out and leaf.n_in > 1]
    columns = [leaf for leaf in left if leaf.kind == "tensor" and leaf.weight.dim() == 2 and leaf.n_in == 1
               and named and leaf.n_out == named[0].n_in]
    if columns and len(columns) == len(named):
        layers = [Leaf(one.path, "linear", {"weight": one.weight, "bias": bias.weight.reshape(-1)})
                  for one, bias in zip(named, columns, strict=True)]
        return layers, [leaf for leaf in left if leaf not in named and leaf not in columns]
    whole = [leaf for leaf in named if "bias" in leaf.tensors]
    return (whole, [leaf for leaf in left if leaf not in whole]) if len(whole) == len(named) else ([], left)


def _explain_one_table(tables: FieldTables, linears: list[Leaf], settings: Settings) -> None:
    """Raises ModelError where one table must hold several fields and nothing says how many rows each has."""
    shared = [one for one in tables.fields if one.rows is not None]
    n_in = linears[0].n_in
    if not tables.has_vectors or len(shared) != 1 or settings.get(FIELD_SIZES) is not None:
        return
    if n_in > tables.dim and n_in % tables.dim == 0 and linears[0].n_out != tables.dim:
        raise ModelError(f"The weights hold one table of {shared[0].rows:,} rows for {n_in // tables.dim} "
                         f"fields or so, "
                         'and nothing says where each field begins. Say it in the binding: {"answers": {"field_sizes": '
                         '[rows of the first field, …], "fields": [its column, …]}}.')
    if n_in == tables.dim and not settings.get("lists") and not settings.get("fields"):
        raise Untold(f"The weights hold one table of {shared[0].rows:,} rows before a layer as wide as one vector, and "
                     "nothing says whether several fields share it (their vectors added up or multiplied) or one list "
                     'of ids is pooled over it. For a list, say in the binding: {"answers": {"lists": ["' +
                     f'{shared[0].name}"]}}}}; for several fields export the model to ONNX or .pt2.', tuple(
                         one for one in tables.questions if one.key in ("fields", "lists")))


def _deep_part(tables: FieldTables, crossed: list[Leaf], linears: list[Leaf], norms: list[Leaf], settings: Settings
               ) -> tuple[dict[str, Any], dict[str, Tensor], list[Question], int] | None:
    """Settings, weights, questions and the count of number inputs of bottom, network and last layer."""
    dim, n_vectors = tables.dim, len(tables.fields) if tables.has_vectors else 0
    flat = dim * n_vectors
    chains = chained(linears)
    config: dict[str, Any] = {}
    weights: dict[str, Tensor] = {}
    asked: list[Question] = []
    n_numbers = 0
    if len(chains) > 1 and chains[0][-1].n_out == dim and not crossed and chains[0][0].n_in != flat:
        count = n_vectors + 1
        pairs = count * (count - 1) // 2
        top = chains[1][0].n_in
        if top not in (dim + pairs, count * dim) or len(chains) != 2:
            return None
        parts = chain_parts("bottom", chains[0], [], settings, followed=True)
        config["bottom"], weights, asked = parts
        config |= {"numbers": "bottom", "dots": top == dim + pairs}
        n_numbers, chains = chains[0][0].n_in, chains[1:]
    elif chains and not tables.number_vectors:
        n_in = crossed[0].n_in if crossed else chains[0][0].n_in
        beside, questions = _beside(n_in - flat, tables, chains, settings)
        asked += questions
        if beside == "dots":
            config["dots"] = True
        elif beside == "numbers":
            n_numbers = n_in - flat
            config |= {"numbers": "values", "numbers_place": "last"}
            asked.append(Question(key="numbers_place", choices=("last", "first"), answer="last",
                                  text="Do the numbers stand behind the vectors or in front of them?"))
        flat += n_numbers
    if config.get("dots") and n_vectors + ("bottom" in config) > 3:  # three pairs have one order
        config["dots_order"] = "lower" if "bottom" in config and not chains[0][0].named("over") else "upper"
        asked.append(Question(key="dots_order", choices=("lower", "upper"), answer=config["dots_order"],
                              text="In which order are the dot products read: by the rows of their matrix below its "
                                   "diagonal (lower: 10, 20, 21, …) or above it (upper: 01, 02, …)?"))
    return _ended(chains, crossed, flat, norms, settings, (config, weights, asked, n_numbers))


def _beside(surplus: int, tables: FieldTables, chains: list[list[Leaf]], settings: Settings
            ) -> tuple[str | None, list[Question]]:
    """(what the network reads beside the tables' vectors, what was asked). Raises ModelError for more vectors.

    Numbers of the data and dot products of all pairs can have one width, and so can vectors: of a table that is read
    twice (a candidate and a history of items), or products of vectors.
    """
    if surplus <= 0:
        return None, []
    count = len(tables.fields) if tables.has_vectors else 0
    choices = ["numbers"]
    if count > 1 and surplus == count * (count - 1) // 2:
        choices.append("dots")
    if count and surplus % tables.dim == 0:
        choices.append("vectors")
    if len(choices) == 1:
        return "numbers", []
    guess = "dots" if "dots" in choices and chains and chains[0][0].named("top|over") else "numbers"
    asked = Question(key="beside", choices=tuple(choices), answer=guess,
                     text=f"What are the {surplus} values that the network reads beside the {count} vectors: numbers "
                          "of the data, dot products of all pairs (dots), or more vectors, such as products or a "
                          "history over a table that is read twice (vectors)?")
    said = settings.get("beside", guess)
    if said == "vectors":
        raise ModelError(f"The network reads {surplus // tables.dim} vectors more than there are tables (products of "
                         "vectors, or a table that is read twice), and nothing in weights says which. Export the model "
                         "to ONNX or .pt2.")
    return said, [asked]


def _ended(chains: list[list[Leaf]], crossed: list[Leaf], flat: int, norms: list[Leaf], settings: Settings,
           so_far: tuple[dict[str, Any], dict[str, Tensor], list[Question], int]
           ) -> tuple[dict[str, Any], dict[str, Tensor], list[Question], int] | None:
    """The network and the layer over cross and network, added to what was read so far."""
    config, weights, asked, n_numbers = so_far
    reads = flat if "bottom" not in config and not config.get("dots") else chains[0][0].n_in
    by_input = {len(one) > 1 or one[0].n_out > 1: one for one in chains}
    network, last = by_input.get(True), by_input.get(False)
    if len(chains) > 2 or len(by_input) != len(chains):
        return None
    if network is None and not crossed:
        network, last = last, None
    if network is not None:
        parts = chain_parts("mlp", network, norms, settings, followed=last is not None)
        if parts is None or network[0].n_in != reads:
            return None
        config["mlp"], more, questions = parts
        weights |= more
        asked += questions
        config["structure"] = "parallel" if last is not None else "stacked" if crossed else "parallel"
    elif norms:
        return None
    if last is None:
        return (config, weights, asked, n_numbers) if network and network[-1].n_out == 1 else None
    beside = crossed and (config.get("structure") != "stacked" or network is None)
    if last[0].n_in != (flat if beside else 0) + (network[-1].n_out if network else 0):
        return None
    config |= {"output": True, "output_bias": "bias" in last[0].tensors}
    weights |= with_bias("output", last[0])
    if network is not None:
        config["output_order"] = "cross first"
        asked.append(Question(key="output_order", choices=("cross first", "network first"), answer="cross first",
                              text="What does the last layer read first: the cross layers or the network?"))
    return config, weights, asked, n_numbers


def _ask_pairs(config: dict[str, Any], tables: FieldTables, asked: list[Question], settings: Settings) -> None:
    """DeepFM and Wide & Deep have the same weights: whether pairs are added is asked."""
    config["pairs"] = False
    if not tables.has_vectors or config.get("cross_layers") or config.get("bottom") or config.get("dots"):
        return
    config["pairs"] = tables.first_order or not config.get("mlp")
    if not tables.first_order and not config.get("mlp"):
        _confirm_pairs(tables, asked, settings)
    elif config.get("mlp") and tables.first_order:
        asked.append(Question(key="pairs", choices=(True, False), answer=True,
                              text="Are the dot products of all pairs of fields added (DeepFM), or not (Wide & Deep)?"))


def _refuse_constant(config: dict[str, Any], tables: FieldTables) -> None:
    """Raises ModelError for one table of vectors and nothing else: it has no pairs, and each score would be 0."""
    if len(tables.fields) == 1 and tables.has_vectors and not tables.first_order and not config.get("mlp") and \
            not config["cross_layers"]:
        raise ModelError(f"The weights hold the vectors of one field ({tables.fields[0].name}) and nothing that makes "
                         "a score of them: pairs of one field don't exist. If several fields share the table, say "
                         "how many rows each has (field_sizes); if its rows are tokens, upload tokenizer.json beside "
                         "the safetensors file; else export the model to ONNX or .pt2.")


def _confirm_pairs(tables: FieldTables, asked: list[Question], settings: Settings) -> None:
    """Tables alone may be multiplied in many ways. Raises Untold unless the answer says: all pairs."""
    names = ", ".join(one.name for one in tables.fields)
    pairs = Question(key="pairs", choices=(True, False), answer=False,
                     text=f"Is the score the dot products of all pairs of the {len(tables.fields)} tables, added up?")
    if settings.get("pairs") is not True:
        raise Untold(f"The weights hold the tables {names} and no layer, and nothing says which of them are multiplied"
                     ": all pairs (a factorisation machine), some (FPMC), or sums of them (SVD++). Say all in the "
                     'binding: {"answers": {"pairs": true}}; for anything else export the model to ONNX or .pt2.',
                     (pairs,))
    asked.append(pairs)


def _title(config: dict[str, Any]) -> str:
    if config["cross_layers"]:
        return _TITLES["dcn"]
    if config.get("dots") or config.get("bottom"):
        return _TITLES["dlrm"]
    if not config["vectors"]:
        return _TITLES["lr"]
    if not config.get("mlp"):
        return _TITLES["fm"]
    return _TITLES["deepfm" if config["first_order"] else "deep"]
