"""A tensor out of raw bytes and what a file says of its shape, checked before a byte is looked at."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from compression.spec.errors import ModelError


def tensor_from(data: bytes | bytearray, dtype: torch.dtype, size: Any, stride: Any, offset: Any, *,
                what: str) -> Tensor:
    """A copy of the elements that (size, stride, offset) name in `data`. Raises ModelError for one that reaches out."""
    whole = all(isinstance(value, tuple | list) and all(type(one) is int and one >= 0 for one in value)
                for value in (size, stride)) and type(offset) is int and offset >= 0
    if not whole or len(size) != len(stride):
        raise ModelError(f"{what} has a shape that makes no sense. The file is broken; save it again.")
    n_stored, n_elements = len(data) // dtype.itemsize, math.prod(size)
    if n_elements == 0:
        return torch.zeros(tuple(size), dtype=dtype)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if last >= n_stored or n_elements > n_stored:
        raise ModelError(f"{what} reaches outside its numbers ({last + 1:,} of {n_stored:,}). The file is truncated, "
                         "or made to do harm; save it again.")
    flat = torch.frombuffer(bytearray(data[:n_stored * dtype.itemsize]), dtype=dtype)
    return torch.as_strided(flat, tuple(size), tuple(stride), offset).clone()
