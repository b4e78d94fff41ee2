"""Dense layers stored and multiplied in fp16: for GPUs, whose tensor cores multiply it several times faster.

Source: Micikevicius et al. 2018, arXiv:1710.03740. Here: for inference alone; inputs are cut to the range of fp16 and
rounded, the bias is added in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from compression.layers.stored_shapes import half_tensors
from compression.methods.quantize.dense_layers import PARTS, leaf_of, reasons_to_skip
from compression.methods.quantize.weights import has_bias
from compression.methods.shared_params import DenseLayers
from compression.spec.effects import DENSE, Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Stage, method
from compression.spec.records import Layer

if TYPE_CHECKING:
    from torch import nn


class HalfProductsParams(DenseLayers):
    """Which dense layers are multiplied in fp16."""

    min_features: int = Field(16, ge=1, le=4096, description="Layers narrower than this stay in float32.")


@method("quantize.half_products", HalfProductsParams, title="Products in fp16",
        summary="Multiplies dense layers in fp16, the number type of a GPU's tensor cores.",
        stage=Stage.AFTER_TRAINING, parts=set(PARTS), needs=set(), export=ExportForm.PLAIN,
        gains={Gain.SMALLER, Gain.FASTER}, source="Micikevicius et al. 2018, arXiv:1710.03740",
        tiny={"min_features": 4}, no_op={"min_features": 4096},
        effects=Effects(makes={Effect.CODES: DENSE, Effect.FROZEN: DENSE}, needs_float=DENSE))
def quantize_half_products(model: "nn.Module", params: HalfProductsParams, ctx: Context) -> Applied:
    """Replace dense layers by ones that multiply in fp16; those that measure slower on the target go back to float."""
    from compression.layers.half_layers import HalfProduct
    from compression.methods.quantize.dynamic import replaced

    return replaced(model, ctx, HalfProduct, "stored and multiplied in fp16", min_features=params.min_features,
                    skip_output=params.skip_output)


@quantize_half_products.named
def _named(params: HalfProductsParams) -> str:
    return "fp16 products"


@quantize_half_products.estimate
def _estimate(layers: tuple[Layer, ...], params: HalfProductsParams) -> tuple[Layer, ...]:
    reasons = reasons_to_skip(map(leaf_of, layers), min_features=params.min_features, skip_output=params.skip_output)
    return tuple(_in_half(layer) if reasons.get(layer.name, "not dense") is None else layer for layer in layers)


def _in_half(layer: Layer) -> Layer:
    stored = half_tensors(layer.shape, "fp16", has_bias=has_bias(layer))
    return layer.model_copy(update={"kind": "HalfProduct", "tensors": stored})
