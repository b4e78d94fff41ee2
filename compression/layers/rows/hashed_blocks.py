"""Tables whose rows are put together from blocks of one shared array, each block at a hashed place.

V ids, D columns, Z columns a block, P = ceil(D / Z) blocks a row, R blocks in the array.
Source: Desai et al. 2022, arXiv:2108.02191 (ROBE). Here: an array for each table, where the paper has one for all, and
places are multiples of Z, so that the array is an ordinary nn.Embedding of R rows, which training and later steps find.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compression.layers.rows.hashed_rows import FACTOR, PRIME
from compression.layers.rows.padded_rows import PaddedRows


def block_places(ids: Tensor, n_pieces: int, n_blocks: int) -> Tensor:
    """ids (…) int64 → (…, P): which block of the array each piece of a row is.

    Each piece has a multiplier of its own, so that two ids that share one block rarely share another.
    """
    factors = torch.tensor([pow(FACTOR, piece + 1, PRIME) for piece in range(n_pieces)], device=ids.device)
    return (ids.unsqueeze(-1) * factors + 12_345) % PRIME % n_blocks


class HashedBlocks(PaddedRows):
    """ids (…) int64 → (…, D) float32, P blocks of the array `table` side by side; what sticks out is cut off."""

    def __init__(self, blocks: Tensor, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.table = nn.Embedding.from_pretrained(blocks.contiguous(), freeze=False)

    @property
    def tables(self) -> tuple[nn.Embedding, ...]:
        return (self.table,)

    def look_up(self, ids: Tensor) -> Tensor:
        pieces = -(-self.embedding_dim // self.table.embedding_dim)
        places = block_places(ids, pieces, self.table.num_embeddings)
        return self.table(places).flatten(-2)[..., :self.embedding_dim]


def hash_blocks(weight: Tensor, weights: Tensor, n_blocks: int, block_size: int) -> HashedBlocks:
    """Blocks set to the weighted mean of the pieces that share one: the least error weighted by row, `weights` (V,).

    weight (V, D). A block that nothing reads is 0.
    """
    n_rows, dim = weight.shape
    pieces = -(-dim // block_size)
    places = block_places(torch.arange(n_rows), pieces, n_blocks)
    above = torch.zeros(n_blocks, block_size, dtype=torch.float64)
    below = torch.zeros_like(above)
    row_weights = weights.double().unsqueeze(1)
    for piece, columns in enumerate(weight.detach().cpu().double().split(block_size, 1)):
        width = columns.shape[1]  # the last piece may be narrower
        above[:, :width].index_add_(0, places[:, piece], row_weights * columns)
        below[:, :width].index_add_(0, places[:, piece], row_weights.expand(-1, width))
    return HashedBlocks((above / below.clamp_min(1e-30)).to(weight.dtype), n_rows, dim)
