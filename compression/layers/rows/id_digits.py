"""One digit of an id by whole numbers alone: torch's exporter divides in float, or corrects signs no id has."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.library.custom_op("recpress::id_digit", mutates_args=())
def id_digit(ids: Tensor, step: int, length: int) -> Tensor:
    """ids (…) int64 from 0 on → (id // step) mod length; with a length of 0 without the rest."""
    shifted = ids // step
    return shifted % length if length else shifted


@id_digit.register_fake
def _(ids: Tensor, step: int, length: int) -> Tensor:
    return torch.empty_like(ids)
