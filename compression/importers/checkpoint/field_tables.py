"""The fields of a click model by its tables: one a field, or one for all with offsets; first order beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from compression.importers.checkpoint.recognised import Field, Settings, clean, padded_with
from compression.importers.checkpoint.skeleton import Leaf, of_kind
from compression.spec.errors import ModelError
from compression.spec.records import Question

FIELD_SIZES = "field_sizes"
_NUMBERS = r"float_embedding|numeric|dense_emb"


@dataclass
class FieldTables:
    """Fields in the order their vectors stand in; `left` are leaves that belong to no field."""

    dim: int
    fields: list[Field] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
    has_vectors: bool = False
    first_order: bool = False
    number_vectors: bool = False
    left: list[Leaf] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)


def read_field_tables(leaves: tuple[Leaf, ...], settings: Settings) -> FieldTables | None:
    """The fields; None where the tables are of different widths or don't fit together. Raises ModelError for one table
    of several fields whose sizes nothing says."""
    numeric = tuple(settings.get("numeric", ()))
    leaves = tuple(Leaf(leaf.path, "table", leaf.tensors) if _is_column(leaf, numeric) else leaf for leaf in leaves)
    tables = of_kind(leaves, "table")
    vectors = [leaf for leaf in tables if _is_number(leaf, numeric) or leaf.n_in > 1]
    singles = [leaf for leaf in tables if leaf not in vectors]
    if numeric:  # FuxiCTR keeps a number's vector as a column, and its weight as one number
        vectors, singles = _by_place(tables)
    if not vectors and not singles:
        return None
    dims = {leaf.n_out if _is_column(leaf, numeric) else leaf.n_in for leaf in vectors}
    offsets = [leaf for leaf in of_kind(leaves, "tensor") if not leaf.weight.is_floating_point()
               and leaf.weight.dim() == 1 and leaf.weight.numel() > 1]
    if len(dims) > 1 or len(offsets) > 1:
        return None
    found = FieldTables(dims.pop() if dims else 1, has_vectors=bool(vectors), first_order=bool(singles))
    sizes = _sizes(vectors or singles, offsets, settings)
    entries = _entries(vectors or singles, sizes, numeric)
    if entries is None or (vectors and singles and not _same(entries, _entries(singles, sizes, numeric))):
        return None
    names = _names(entries, settings)
    lists = settings.get("lists", ())
    for name, (path, rows, _) in zip(names, entries, strict=True):
        kind = "number" if rows is None else "multi" if name in lists or "token_seq" in path else "category"
        found.fields.append(Field(name, kind, rows, settings.get("lengths", {}).get(name)))
    found.number_vectors = any(one.kind == "number" for one in found.fields)
    for part, source in (("tables", vectors), ("first_order", singles)):
        for name, (_, _, tensor) in zip(names, _entries(source, sizes, numeric) or [], strict=False):
            found.weights[f"{part}[{name}]"] = tensor
    used = {*vectors, *singles, *offsets}
    found.left = [leaf for leaf in leaves if leaf not in used]
    _ask(found, settings)
    for one in found.fields:
        if one.kind == "multi" and found.has_vectors:
            found.questions += padded_with(Leaf(one.name, "table", {"weight": found.weights[f"tables[{one.name}]"]}),
                                           settings)
    return found


def _by_place(tables: list[Leaf]) -> tuple[list[Leaf], list[Leaf]]:
    """Vectors and weights where the last names repeat: by the branch of the tree, wider branches first."""
    branches: dict[str, list[Leaf]] = {}
    for leaf in tables:
        branches.setdefault(leaf.path.rpartition(".")[0], []).append(leaf)
    widths = {path: max(leaf.weight.numel() // leaf.n_out if leaf.n_in > 1 else 1 for leaf in found)
              for path, found in branches.items()}
    wide = [leaf for path, found in branches.items() if widths[path] > 1 for leaf in found]
    return wide, [leaf for path, found in branches.items() if widths[path] == 1 for leaf in found]


def _is_number(leaf: Leaf, numeric: tuple[str, ...]) -> bool:
    return (leaf.named(_NUMBERS) and leaf.n_in > 1) or _is_column(leaf, numeric)


def _is_column(leaf: Leaf, numeric: tuple[str, ...]) -> bool:
    """Whether it is a dense layer of one input without a bias, as FuxiCTR keeps a number's vector."""
    return leaf.path.split(".")[-1] in numeric and leaf.kind in ("linear", "table") and "bias" not in leaf.tensors \
        and leaf.n_in == 1


def _sizes(tables: list[Leaf], offsets: list[Leaf], settings: Settings) -> list[int] | None:
    """Rows of each field in the one table they share; None where every field has a table of its own."""
    shared = [leaf for leaf in tables if not leaf.named("token_seq") and not leaf.named(_NUMBERS)]
    said = field_sizes(settings)
    fits = len(shared) == 1 and sum(said or ()) == shared[0].n_out
    if settings.decided(FIELD_SIZES) == "file" and not fits:
        said = None  # a tool's word for something else
    if said is not None:
        if len(shared) != 1 or sum(said) != shared[0].n_out:
            rows = ", ".join(str(leaf.n_out) for leaf in shared)
            raise ModelError(f"field_sizes sum to {sum(said):,}, but the shared table has {rows} rows. Give the rows "
                             "of each field, with those for unknown and padding.")
        return list(said)
    if offsets and len(shared) == 1:
        starts = [int(one) for one in offsets[0].weight]
        if starts[0] != 0:  # the rows of each field themselves
            return starts if sum(starts) == shared[0].n_out else None
        ends = [*starts[1:], shared[0].n_out]
        sizes = [end - start for start, end in zip(starts, ends, strict=True)]
        return sizes if all(size > 0 for size in sizes) else None
    return None


def field_sizes(settings: Settings) -> list[int] | None:
    """The rows of each field in a shared table, as a list or as text with commas. Raises ModelError for anything else.
    """
    said = settings.get(FIELD_SIZES)
    if said is None or said == "":
        return None
    if isinstance(said, str):
        said = [int(one) if one.strip().isdecimal() else one for one in said.split(",")]
    if not isinstance(said, list | tuple) or not all(type(one) is int and one > 0 for one in said):
        raise ModelError("field_sizes is a list of whole numbers: the rows of each field in the shared table.")
    return list(said)


def _entries(tables: list[Leaf], sizes: list[int] | None, numeric: tuple[str, ...]
             ) -> list[tuple[str, int | None, Tensor]] | None:
    """(path, rows or None of a number, weight) of each field, in order."""
    found: list[tuple[str, int | None, Tensor]] = []
    for leaf in tables:
        if _is_column(leaf, numeric):
            found.append((leaf.path, None, leaf.weight.reshape(-1)))
        elif leaf.named(_NUMBERS):
            found += [(f"{leaf.path}.{place}", None, row) for place, row in enumerate(leaf.weight)]
        elif sizes is not None and leaf.n_out == sum(sizes):
            found += [(f"{leaf.path}.{place}", len(part), part)
                      for place, part in enumerate(leaf.weight.split(sizes))]
        else:
            found.append((leaf.path, leaf.n_out, leaf.weight))
    if any(leaf.named("float_embedding") for leaf in tables):  # RecBole puts numbers behind all ids
        found.sort(key=lambda entry: entry[1] is None)
    return found


def _same(entries: list[tuple[str, int | None, Tensor]], others: list[tuple[str, int | None, Tensor]] | None) -> bool:
    return others is not None and [rows for _, rows, _ in entries] == [rows for _, rows, _ in others]


def _names(entries: list[tuple[str, int | None, Tensor]], settings: Settings) -> list[str]:
    """A name a field: as answered, else by its table's path."""
    said = {False: list(settings.get("fields", ())), True: list(settings.get("numbers", ()))}
    counts = {is_number: sum((rows is None) == is_number for _, rows, _ in entries) for is_number in (False, True)}
    names: list[str] = []
    for path, rows, _ in entries:
        known, is_number = said[rows is None], rows is None
        if len(known) == counts[is_number]:
            names.append(str(known[sum((one is None) == is_number for _, one, _ in entries[:len(names)])]))
            continue
        name = clean(path)
        names.append(name if name not in names else f"{name}_{len(names)}")
    return names


def _ask(found: FieldTables, settings: Settings) -> None:
    rows = ", ".join(f"{one.rows:,}" for one in found.fields if one.rows is not None)
    names: list[Any] = [one.name for one in found.fields if one.rows is not None]
    found.questions.append(Question(key="fields", answer=names,
                                    text=f"Which columns do the tables of {rows} rows read, in this order?"))
    lists = [one.name for one in found.fields if one.kind == "multi"]
    found.questions.append(Question(key="lists", answer=lists,
                                    text="Which of these fields hold several ids a row (an EmbeddingBag)?"))
    if lists:
        found.questions += [
            Question(key="pooling", text="Are the vectors of a list averaged or added up?", choices=("mean", "sum"),
                     answer="mean"),
            Question(key="skip_padding", text="Is id 0 of a list left out as padding?", choices=(True, False),
                     answer=True)]
