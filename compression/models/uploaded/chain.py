"""A chain of dense layers as other people's code builds them, and the names its weights have in it."""

from __future__ import annotations

from torch import nn

from compression.models.uploaded.params import ChainParams

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU, "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU, "silu": nn.SiLU, "none": nn.Identity,
}


def chain(n_in: int, params: ChainParams) -> nn.Sequential:
    """Linear, then norm, activation and dropout in their order, for each width; the last layer may stay plain."""
    layers: list[nn.Module] = []
    for place, width in enumerate(params.widths):
        layers.append(nn.Linear(n_in, width, bias=params.bias))
        n_in = width
        if place == len(params.widths) - 1 and params.last == "plain":
            continue
        norm = [nn.BatchNorm1d(width)] if params.batch_norm != "none" else []
        act: list[nn.Module] = [] if params.activation == "none" else [ACTIVATIONS[params.activation]()]
        layers += [*act, *norm] if params.batch_norm == "after" else [*norm, *act]
        if params.dropout > 0:
            layers.append(nn.Dropout(params.dropout))
    return nn.Sequential(*layers)


def placed(model: nn.Module, name: str) -> str:
    """A weight's name in `model`: "mlp.linear.1.weight" → "mlp.3.weight", "mlp.norm.0.bias" → "mlp.1.bias"."""
    for kind, layer_class in (("linear", nn.Linear), ("norm", nn.BatchNorm1d)):
        before, found, after = name.partition(f".{kind}.")
        if not found or not isinstance(getattr(model, before, None), nn.Sequential):
            continue
        number, _, tensor = after.partition(".")
        places = [key for key, layer in getattr(model, before).named_children() if isinstance(layer, layer_class)]
        if int(number) < len(places):
            return f"{before}.{places[int(number)]}.{tensor}"
    return name
