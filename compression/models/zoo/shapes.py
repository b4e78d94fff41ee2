"""The layers of a model of the zoo by its settings alone, and the settings by the layers: sizes without torch.

    found = settings_of(description.layers)               # ("deepfm", {"embedding_dim": 16, …}, fields)
    layers = layers_of("dcnv2", {"embedding_dim": 8}, found.fields)

A test holds both against models that were built.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from compression.models.zoo import parse_config
from compression.spec.records import Layer, Part, Tensor

Layers = tuple[Layer, ...]


class FieldShape(NamedTuple):
    """An input: the key of its table, the rows of the table (None for a number), and what the layer says of it."""

    key: str
    n_rows: int | None
    field: str | None = None
    ordered: bool = True


class Settings(NamedTuple):
    """What the shapes of a model tell. DeepFM and Wide & Deep have the same; dropout is told as on or off."""

    architecture: str
    config: dict[str, Any]
    fields: tuple[FieldShape, ...]


def layers_of(architecture: str, config: dict[str, Any], fields: tuple[FieldShape, ...]) -> Layers:
    """The leaves of the model that `zoo.build` makes, in its order. Raises ModelError for a setting out of bounds."""
    settings = parse_config(architecture, config)
    dim = getattr(settings, "embedding_dim", 1)
    n_numbers = sum(field.n_rows is None for field in fields)
    first_order = [*_vectors("first_order", fields, 1)]
    if architecture == "lr":
        return (*first_order, _bias())
    tables = [*_vectors("tables", fields, dim, numbers=architecture != "dlrm")]
    if architecture == "fm":
        return (*tables, *first_order, _bias())
    if architecture in ("deepfm", "widedeep"):
        weights = first_order if getattr(settings, "first_order", True) else []
        return (*tables, *weights, *_mlp("mlp", len(fields) * dim, settings))
    if architecture == "dnn":
        return (*tables, *_mlp("deep", len(fields) * dim, settings))
    if architecture == "finalmlp":
        return (*tables, *_final_mlp(len(fields) * dim, settings))
    if architecture == "fieldconv":
        return (*tables, *_convs(settings), *_mlp("mlp", len(fields) * settings.channels, settings))
    if architecture == "dcnv2":
        return (*tables, *_crosses(len(fields) * dim, settings))
    n_vectors = len(fields) - n_numbers + bool(n_numbers)
    beside = dim if n_numbers else n_vectors * dim
    bottom = [*_bottom(n_numbers, settings)] if n_numbers else []
    return (*tables, *bottom, *_mlp("mlp", beside + n_vectors * (n_vectors - 1) // 2, settings))


def settings_of(layers: Layers) -> Settings | None:
    """What kind of model these untouched layers are; None where they are not one of the zoo's."""
    groups: dict[str, list[Layer]] = {}
    for layer in layers:
        groups.setdefault(layer.name.split(".")[0], []).append(layer)
    architecture = _ARCHITECTURES.get(frozenset(groups))
    vectors = groups.get("tables") or groups.get("first_order", [])
    if architecture is None or not all(layer.kind in ("Embedding", "NumberVector") for layer in vectors):
        return None
    fields = tuple(FieldShape(layer.name.split(".")[1], layer.shape[0] if layer.kind == "Embedding" else None,
                              layer.field, layer.ordered) for layer in vectors)
    config: dict[str, Any] = {"embedding_dim": vectors[0].shape[-1]} if "tables" in groups and vectors else {}
    for group in ("mlp", "deep"):
        if group in groups:
            config |= _mlp_settings(groups[group])
    if architecture == "finalmlp":
        config |= _final_mlp_settings(groups)
    if architecture == "dlrm" and set(groups) == {"tables", "mlp"} and groups["mlp"][0].shape[1] == sum(
            layer.shape[-1] for layer in vectors) and len(vectors) > 1:
        architecture = "deepfm"  # no products beside the vectors
        config["first_order"] = False
    if "cross" in groups:
        config |= _cross_settings(groups["cross"])
        config["structure"] = "parallel" if "cross_output" in groups else "stacked"
    if "convs" in groups:
        n_out, _, size = groups["convs"][0].shape
        config |= {"n_conv_layers": len(groups["convs"]), "channels": n_out, "kernel_size": size}
    if "bottom" in groups:
        shapes = [layer.shape for layer in groups["bottom"]]
        config |= {"embedding_dim": shapes[-1][0], "n_bottom_layers": len(shapes)}
        config |= {"bottom_width": shapes[0][0]} if len(shapes) > 1 else {}
        fields += tuple(FieldShape(f"number_{place}", None) for place in range(shapes[0][1]))
    return Settings(architecture, config, fields)


_ARCHITECTURES = {frozenset(groups): key for key, groups in (
    ("lr", ("first_order", "bias")), ("fm", ("tables", "first_order", "bias")),
    ("deepfm", ("tables", "first_order", "mlp")), ("fieldconv", ("tables", "convs", "mlp")),
    ("dnn", ("tables", "deep")),
    *(("finalmlp", ("tables", *gates, "first", "second", "first_output", "second_output", "products"))
      for gates in ((), ("gates",))),
    ("dcnv2", ("tables", "cross", "mlp")), ("dcnv2", ("tables", "cross", "mlp", "cross_output")),
    ("dlrm", ("tables", "mlp")), ("dlrm", ("tables", "bottom", "mlp")), ("dlrm", ("bottom", "mlp")))}


def _mlp_settings(layers: list[Layer]) -> dict[str, Any]:
    places = [int(layer.name.split(".")[1]) for layer in layers if layer.kind == "Linear"]
    batch_norm = any(layer.kind == "BatchNorm1d" for layer in layers)
    plain = 2 + batch_norm  # modules a hidden layer takes without dropout
    return {"n_layers": len(places) - 1, "width": layers[0].shape[0], "batch_norm": batch_norm,
            "dropout": 0.2 if places[1] - places[0] > plain else 0.0}


def _final_mlp_settings(groups: dict[str, list[Layer]]) -> dict[str, Any]:
    linear = [layer for layer in groups["first"] if layer.kind == "Linear"]
    batch_norm = len(groups["first"]) > len(linear)
    places = [int(layer.name.split(".")[1]) for layer in linear]
    dropped = len(places) == 1 or places[1] - places[0] > 2 + batch_norm  # of one layer nothing tells it
    return {"n_layers": len(linear), "width": linear[0].shape[0], "batch_norm": batch_norm,
            "dropout": 0.2 if dropped else 0.0, "n_heads": len(groups["products"]), "gates": "gates" in groups}


def _cross_settings(layers: list[Layer]) -> dict[str, Any]:
    names = [layer.name.split(".") for layer in layers]
    gates = [layer.shape[0] for layer in layers if layer.name.endswith(".gate")]
    return {"n_cross_layers": len({place for _, place, *_ in names}),
            "cross_rank": layers[0].shape[0] if len(names[0]) > 2 else 0, "n_experts": gates[0] if gates else 1}


def _vectors(group: str, fields: tuple[FieldShape, ...], dim: int, *, numbers: bool = True) -> Iterator[Layer]:
    for key, n_rows, field, ordered in fields:
        if n_rows is not None:
            yield _layer(f"{group}.{key}", "Embedding", Part.EMBEDDING, (n_rows, dim)).model_copy(
                update={"field": field, "ordered": ordered})
        elif numbers:
            yield _layer(f"{group}.{key}", "NumberVector", Part.EMBEDDING, (dim,))


def _mlp(group: str, n_in: int, settings: Any) -> Iterator[Layer]:
    place = 0
    for _ in range(settings.n_layers):
        yield _linear(f"{group}.{place}", n_in, settings.width)
        if settings.batch_norm:
            place += 1
            yield _batch_norm(f"{group}.{place}", settings.width)
        place += 2 + (settings.dropout > 0)
        n_in = settings.width
    yield _linear(f"{group}.{place}", n_in, 1, part=Part.OUTPUT)


def _final_mlp(n_in: int, settings: Any) -> Iterator[Layer]:
    for place in range(2 * settings.gates):
        yield _layer(f"gates.{place}", "Gate", Part.INTERACTION, (n_in,))
    for group in ("first", "second"):
        yield from [*_mlp(group, n_in, settings)][:-1]
    yield _linear("first_output", settings.width, 1, part=Part.OUTPUT)
    yield _linear("second_output", settings.width, 1, part=Part.OUTPUT, bias=False)
    part = settings.width // settings.n_heads
    for place in range(settings.n_heads):
        yield _linear(f"products.head_{place}", part, part, part=Part.OUTPUT, bias=False)


def _bottom(n_numbers: int, settings: Any) -> Iterator[Layer]:
    n_in = n_numbers
    for place, width in enumerate((*(settings.bottom_width,) * (settings.n_bottom_layers - 1), settings.embedding_dim)):
        yield _linear(f"bottom.{2 * place}", n_in, width)
        n_in = width


def _crosses(width: int, settings: Any) -> Iterator[Layer]:
    rank, mixed = settings.shared_rank, settings.n_experts > 1
    for place in range(settings.n_cross_layers):
        name = f"cross.{place}"
        if not rank:
            yield _linear(name, width, width, part=Part.INTERACTION)
            continue
        first, second = ("reduce", "expand") if mixed else ("0", "1")
        yield _linear(f"{name}.{first}", width, rank, part=Part.INTERACTION, bias=False)
        yield _linear(f"{name}.{second}", rank, width, part=Part.INTERACTION)
        if mixed:
            yield _linear(f"{name}.gate", width, settings.n_experts, part=Part.INTERACTION, bias=False)
    yield from _mlp("mlp", width, settings)
    if settings.structure == "parallel":
        yield _linear("cross_output", width, 1, part=Part.OUTPUT, bias=False)


def _convs(settings: Any) -> Iterator[Layer]:
    n_in = settings.embedding_dim
    for place in range(settings.n_conv_layers):
        name = f"convs.{place}"
        layer = _layer(name, "Conv1d", Part.INTERACTION, (settings.channels, n_in, settings.kernel_size))
        yield layer.model_copy(update={"tensors": (*layer.tensors, _tensor(f"{name}.bias", settings.channels))})
        n_in = settings.channels


def _linear(name: str, n_in: int, n_out: int, *, part: Part = Part.DENSE, bias: bool = True) -> Layer:
    layer = _layer(name, "Linear", part, (n_out, n_in))
    return layer.model_copy(update={"tensors": (*layer.tensors, _tensor(f"{name}.bias", n_out))}) if bias else layer


def _batch_norm(name: str, width: int) -> Layer:
    tensors = tuple(_tensor(f"{name}.{one}", width) for one in ("weight", "bias", "running_mean", "running_var"))
    return Layer(name=name, kind="BatchNorm1d", part=Part.DENSE, shape=(width,), tensors=tensors)


def _bias() -> Layer:
    return Layer(name="bias", kind="Bias", part=Part.OUTPUT, shape=(1,), tensors=(_tensor("bias.bias", 1),))


def _layer(name: str, kind: str, part: Part, shape: tuple[int, ...]) -> Layer:
    return Layer(name=name, kind=kind, part=part, shape=shape, tensors=(_tensor(f"{name}.weight", *shape),))


def _tensor(name: str, *shape: int) -> Tensor:
    return Tensor(name=name, dtype="float32", shape=shape)
