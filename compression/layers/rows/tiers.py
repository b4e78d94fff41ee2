"""How many rows of a table get 8, 4, 2, 1 or no bits: sizes by shapes alone, tiers by frequency-weighted error.

Legend: V rows, D columns, T tiers from the widest codes to none. `cuts` (T − 1,) are the ends of the tiers: rows
cuts[k−1] … cuts[k] − 1 are stored at width k, rows from cuts[−1] on read one shared row. Free of torch.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np

from compression.layers.stored_shapes import bits_that_fit, packed_width
from compression.spec.records import Tensor

SCALE_BYTES = 2  # fp16, one a row
N_GROUPS = 256
REACH = 8  # rows by which each cut may move to meet the budget to the byte


def widths(embedding_dim: int) -> dict[int, int]:
    """Bits → bytes of a row with its scale, widest first; widths that save nothing over a wider one are left out."""
    return {bits: packed_width(embedding_dim, bits) + SCALE_BYTES for bits in (8, 4, 2, 1)
            if bits_that_fit(embedding_dim, bits) == bits}


def fixed_tensors(n_rows: int, embedding_dim: int, *, mapped: bool) -> tuple[Tensor, ...]:
    """What a table stores whatever its tiers: the shared row, and the map where ids stand in no order."""
    shared = Tensor(name="shared", dtype="float32", shape=(embedding_dim,))
    return (shared, Tensor(name="ids.rows", dtype="int32", shape=(n_rows, 1))) if mapped else (shared,)


def row_budget(n_rows: int, embedding_dim: int, bits: float, *, mapped: bool) -> int:
    """Bytes that the rows and their scales will take: the most that whole rows can fill of the budget."""
    fixed = sum(tensor.size_bytes for tensor in fixed_tensors(n_rows, embedding_dim, mapped=mapped))
    budget = int(bits * n_rows * embedding_dim / 8) - fixed
    return reachable(n_rows, tuple(widths(embedding_dim).values()), budget)[0] if budget > 0 else 0


@lru_cache(maxsize=1024)
def reachable(n_rows: int, row_bytes: tuple[int, ...], budget: int) -> tuple[int, tuple[int, ...]]:
    """The most bytes ≤ budget that at most `n_rows` rows can weigh to the byte, and such cuts.

    Rows beyond the square of the widest are all of the widest; what remains is found by counting coins.
    """
    widest = row_bytes[0]
    budget = min(budget, n_rows * widest)
    window = min(budget, widest * widest + widest)
    fewest = np.full(window + 1, np.iinfo(np.int32).max // 2)  # rows that weigh so many bytes together
    last = np.zeros(window + 1, dtype=np.int64)
    fewest[0] = 0
    for total in range(1, window + 1):
        for place, width in enumerate(row_bytes):
            if width <= total and fewest[total - width] + 1 < fewest[total]:
                fewest[total], last[total] = fewest[total - width] + 1, place
    for total in range(budget, -1, -1):
        whole = max(0, -(-(total - window) // widest))
        rest = total - whole * widest
        if whole + fewest[rest] <= n_rows:
            counts = np.zeros(len(row_bytes), dtype=np.int64)
            counts[0] = whole
            while rest:
                counts[last[rest]] += 1
                rest -= row_bytes[last[rest]]
            return total, tuple(int(cut) for cut in counts.cumsum())
    raise AssertionError("no rows weigh no bytes, which is within any budget")


def choose_cuts(errors: np.ndarray, row_bytes: tuple[int, ...], budget: int) -> np.ndarray:
    """Cuts (T − 1,) of least error among those that weigh exactly `budget` bytes, near enough.

    errors (V, T): weighted squared error of each row in each tier, the last one that of the shared row. First
    the least of error + price × bytes over groups of rows, the price searched until the bytes fit: greedy by error
    per byte. Then single rows move until the budget, one that `reachable` gave, is met to the byte.
    """
    n_rows = len(errors)
    steps = -np.diff(np.array([*row_bytes, 0]))  # bytes saved by one row that moves to the next tier
    sums = np.vstack([np.zeros(errors.shape[1]), errors.cumsum(0, dtype=np.float64)])
    edges = np.unique(np.round(np.geomspace(1, n_rows, N_GROUPS)).astype(np.int64))
    edges = np.concatenate([[0], edges])
    low, high = 0.0, float(errors.max()) + 1e-30  # at the high price every row that may be is dropped
    over, under = _cheapest(sums, edges, row_bytes, low), _cheapest(sums, edges, row_bytes, high)
    for _ in range(60):
        price = (low + high) / 2
        tried = _cheapest(sums, edges, row_bytes, price)
        if tried @ steps > budget:
            low, over = price, tried
        else:
            high, under = price, tried
    cuts = _fill(under, over, steps, budget)
    return _meet(cuts, sums, steps, budget, n_rows, reachable(n_rows, row_bytes, budget)[1])


def weigh(cuts: np.ndarray, row_bytes: tuple[int, ...]) -> int:
    """Bytes of rows and scales in these tiers."""
    return int(np.diff(np.concatenate([[0], cuts])) @ np.array(row_bytes))


def error_of(cuts: np.ndarray, sums: np.ndarray) -> float:
    """The summed error of these tiers; sums (V + 1, T) run from 0."""
    edges = [0, *(int(cut) for cut in cuts), len(sums) - 1]
    return float(sum(sums[end, tier] - sums[start, tier] for tier, (start, end) in enumerate(pairwise(edges))))


def _cheapest(sums: np.ndarray, edges: np.ndarray, row_bytes: tuple[int, ...], price: float) -> np.ndarray:
    """Cuts at the edges of groups with the least error + price × bytes: tiers may only get narrower down the rows."""
    cost = np.diff(sums[edges], axis=0) + price * np.outer(np.diff(edges), [*row_bytes, 0])  # (groups, T)
    total = np.zeros(cost.shape[1])
    came = np.zeros(cost.shape, dtype=np.int64)
    for group, here in enumerate(cost):
        place = 0
        for tier in range(len(total)):  # the best tier for the rows before: this one or a wider one
            place = tier if total[tier] < total[place] else place
            came[group, tier] = place
        total = total[came[group]] + here
    tier = int(total.argmin())
    tiers = np.empty(len(cost), dtype=np.int64)
    for group in range(len(cost) - 1, -1, -1):
        tiers[group] = tier
        tier = came[group, tier]
    return np.array([edges[np.searchsorted(tiers, place, side="right")] for place in range(len(row_bytes))])


def _fill(under: np.ndarray, over: np.ndarray, steps: np.ndarray, budget: int) -> np.ndarray:
    """Move the cuts from those that fit towards those that don't, narrowest tier first, while bytes are left."""
    cuts = under.copy()
    for place in range(len(cuts) - 1, -1, -1):
        left = budget - int(cuts @ steps)
        room = max(0, int(over[place]) - int(cuts[place]))
        if left > 0:
            cuts[place] += min(room, left // int(steps[place]))
        if place + 1 < len(cuts):
            cuts[place] = min(cuts[place], cuts[place + 1])
    return cuts


def _meet(cuts: np.ndarray, sums: np.ndarray, steps: np.ndarray, budget: int, n_rows: int,
          known: tuple[int, ...]) -> np.ndarray:
    """The cuts near these that weigh exactly the budget, with the least error; `known` ones where none is near."""
    moves = np.stack(np.meshgrid(*[np.arange(-REACH, REACH + 1)] * len(cuts), indexing="ij"), -1).reshape(-1, len(cuts))
    tried = cuts + moves
    ordered = np.diff(np.concatenate([np.zeros((len(tried), 1)), tried, np.full((len(tried), 1), n_rows)], 1), axis=1)
    tried = tried[(tried @ steps == budget) & (ordered >= 0).all(1)]
    return min([*tried, np.array(known)], key=lambda one: error_of(one, sums))
