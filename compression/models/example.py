"""A batch of zeros of the right shapes: what tracing, exporting and looking at shapes begin with."""

from __future__ import annotations

import torch
from torch import Tensor

from compression.spec.signature import Input, Signature

EXAMPLE_ROWS = 3  # 0 and 1 would be taken for fixed lengths
TORCH_DTYPES = {"int64": torch.int64, "int32": torch.int32, "float32": torch.float32}


def example_batch(signature: Signature, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Zeros of the right shapes, for tracing: no id is out of range."""
    batch = {}
    for place, item in enumerate(signature.inputs):
        # lengths differ from one another and from the rows, so that none is taken for equal to another
        width = fixed_width(item) or (EXAMPLE_ROWS + 1 + place if item.kind == "multi" else None)
        if item.length_of in batch:
            width = batch[item.length_of].shape[1]
        shape = (EXAMPLE_ROWS, width) if width else (EXAMPLE_ROWS,)
        batch[item.name] = torch.zeros(shape, dtype=TORCH_DTYPES[item.dtype], device=device)
    return batch


def fixed_width(item: Input) -> int | None:
    """Columns of a wide input, or the length of lists that is fixed; None where the second axis is free or absent."""
    return len(item.parts) or (item.max_length if item.kind == "multi" and item.fixed_length else None)
