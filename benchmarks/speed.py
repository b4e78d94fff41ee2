"""How fast tables become codes: row packing beside memcpy, product quantisation, k-means weight sharing.

    python -m benchmarks.speed

Row packing is measured as bytes of the float table read in a second, from the call to the finished codes and scales
(their memory is taken within), relative to the bytes that memcpy reads when it copies the same table to memory that
was written before. Within each round memcpy, ours and torch's packing operators run in random order; a ratio is taken
within its round. With one thread, seconds are processor time, which neighbours on the machine disturb less.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks import report
from compression.layers.dense.shared_linear import SharedLinear
from compression.layers.rows.product_rows import encode_product
from compression.layers.rows.row_codes import encode_rows

MEMCPY = "memcpy"
GOAL_PACKING, GOAL_PQ, GOAL_SHARING = 0.30, 5.0, 0.3
PQ_SHAPE = (1_000_000, 64)
N_SHARED = 1_000_000

Clock = Callable[[], float]


def contenders(table: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Name → what is timed on the table."""
    copy = torch.zeros_like(table)
    calls: dict[str, Callable[[], object]] = {MEMCPY: lambda: copy.copy_(table)}
    for bits in (8, 4, 2, 1):
        calls[f"{bits} bits, a scale a row"] = lambda bits=bits: encode_rows(table, n_bits=bits)
    calls["8 bits, a scale a table"] = lambda: encode_rows(table, n_bits=8, granularity="field")
    calls["4 bits, scales searched"] = lambda: encode_rows(table, n_bits=4, clipping="search")
    for name in ("byte", "4bit", "2bit"):
        packed = getattr(torch.ops.quantized, f"embedding_bag_{name}_prepack")
        calls[f"torch embedding_bag_{name}_prepack"] = lambda packed=packed: packed(table)
    return calls


def time_rounds(calls: dict[str, Callable[[], object]], rounds: int, clock: Clock) -> dict[str, list[float]]:
    """Seconds of each call in each round; the order within a round is random."""
    random = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()  # memory is taken, kernels are chosen
    for _ in range(rounds):
        for name in random.permutation(list(calls)):
            begun = clock()
            calls[str(name)]()
            seconds[str(name)].append(clock() - begun)
    return seconds


def packing_table(n_values: int, dim: int, rounds: int, clock: Clock) -> str:
    """Ratios to memcpy, as a table of the report."""
    table = torch.randn(n_values // dim, dim, generator=torch.Generator().manual_seed(0))
    seconds = time_rounds(contenders(table), rounds, clock)
    lines = []
    for name, found in seconds.items():
        ratios = [copied / taken for copied, taken in zip(seconds[MEMCPY], found, strict=True)]
        rate = 4 * table.numel() / statistics.median(found) / 1e9
        goal = ""
        if name.endswith("a scale a row"):
            goal = "met" if statistics.median(ratios) >= GOAL_PACKING else "missed"
        spread = f"{min(ratios):.0%} to {max(ratios):.0%}"
        lines.append([name, f"{rate:.2f}", f"{statistics.median(ratios):.0%}", spread, goal])
    columns = ["what", "GB/s of floats read, median", "of memcpy, median", "lowest to highest",
               f"goal ≥ {GOAL_PACKING:.0%}"]
    return f"### {len(table):,} rows × {dim}\n\n" + report.table(columns, lines)


def seconds_line(name: str, call: Callable[[], object], repeats: int, goal: float, clock: Clock) -> list[str]:
    """A line of the table of seconds."""
    found = []
    for _ in range(repeats):
        begun = clock()
        call()
        found.append(clock() - begun)
    middle = statistics.median(found)
    return [name, f"{middle:.2f} s", f"{min(found):.2f} to {max(found):.2f} s", f"≤ {goal:g} s",
            "met" if middle <= goal else "missed"]


def product_quantisation() -> Callable[[], object]:
    """PQ of a table with Zipf weights: 8 slices of 256 centroids."""
    table = torch.randn(*PQ_SHAPE, generator=torch.Generator().manual_seed(0))
    weights = 1 / np.arange(1, len(table) + 1)
    return lambda: encode_product(table, weights, n_slices=8, centroids=256, random=np.random.default_rng(0))


def sharing() -> Callable[[], object]:
    """A dense layer of a million weights as a codebook of 16 and packed codes."""
    linear = torch.nn.Linear(N_SHARED // 1000, 1000)
    return lambda: SharedLinear(linear, n_bits=4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--values", type=int, default=32_000_000, help="of the packed table")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=3, help="of product quantisation and weight sharing")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    body = "\n\n".join(packing_table(options.values, dim, options.rounds, clock) for dim in (64, 16))
    lines = [seconds_line(name, call, options.repeats, goal, clock) for name, call, goal in (
        ("product quantisation of 1M × 64, 8 × 256", product_quantisation(), GOAL_PQ),
        ("k-means sharing of 1M weights, 16 centroids", sharing(), GOAL_SHARING))]
    body += "\n\n### Codebooks\n\n" + report.table(["what", "median", "lowest to highest", "goal", ""], lines)
    body += (f"\n\nLoad of the machine's {os.cpu_count()} cores at the end: {os.getloadavg()[0]:.1f}. "
             f"{options.threads} thread(s); {options.rounds} rounds in random order, {options.repeats} repeats of "
             f"codebooks; seconds are {'processor' if options.threads == 1 else 'wall'} time. Normal values. Packing "
             "counts the bytes of the float table that are read in a second, from the call to finished codes and "
             "scales; memcpy copies the same table to memory that was written before. torch's operators store a "
             "minimum and a step a row, in 4 or 8 bytes, and search nothing.")
    report.write("speed", "Speed of packing and codebooks", body,
                 command=f"python -m benchmarks.speed --values {options.values} --rounds {options.rounds} "
                         f"--repeats {options.repeats} --threads {options.threads}")


if __name__ == "__main__":
    main()
