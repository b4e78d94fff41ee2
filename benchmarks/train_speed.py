"""Training speed: RecPress' loop beside a per-row Dataset, a DataLoader and dense Adam.

    python -m benchmarks.train_speed

The same DeepFM, the same rows, the same batch size and thread count; ten fields, one of a million rows. The two
loops run in turn, in random order within each round, so that a busy neighbour meets both. What is compared is rows/s
over whole steps: fetch, forward, backward, update. With one CPU thread the clock is the processor time of the process,
which neighbours on the machine disturb less; otherwise it is the clock on the wall.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from benchmarks import report
from compression.data.dataset import Dataset, Rows
from compression.models.zoo import build
from compression.spec.data_description import DataDescription, Label
from compression.spec.signature import Input, Signature
from compression.train.loop import train
from compression.train.losses import binary_cross_entropy
from compression.train.params import TrainParams

TABLE_ROWS = (1_000_000, 100_000, 10_000, 1000, 1000, 100, 100, 50, 24, 7)
Clock = Callable[[], float]
CONFIG = {"embedding_dim": 16, "n_layers": 3, "width": 128, "dropout": 0.2, "batch_norm": False}


class RowByRow(TorchDataset):
    """One row at a time as a dict of tensors, as RecBole- and FuxiCTR-like loaders hand them out."""

    def __init__(self, rows: Rows) -> None:
        self.inputs = {name: torch.from_numpy(values) for name, values in rows.inputs.items()}
        self.label = torch.from_numpy(rows.label)

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        return {name: values[index] for name, values in self.inputs.items()}, self.label[index]


def click_log(n_rows: int, seed: int) -> Dataset:
    """Ten categories with Zipf ids (exponent 1.05) and labels from a coin: speed doesn't look at labels."""
    random = np.random.default_rng(seed)
    inputs = {}
    for field, size in enumerate(TABLE_ROWS):
        weight = 1 / np.arange(1, size) ** 1.05
        inputs[f"field{field}"] = 1 + random.choice(size - 1, n_rows, p=weight / weight.sum()).astype(np.int64)
    rows = Rows(inputs, (random.random(n_rows) < 0.3).astype(np.float32), None)
    signature = Signature(inputs=tuple(Input(name=f"field{field}", kind="category", column=f"field{field}",
                                             cardinality=size) for field, size in enumerate(TABLE_ROWS)))
    description = DataDescription(name="speed", files={"all": "none"}, label=Label(column="label"), columns=())
    return Dataset(description, signature, {}, {"train": rows, "valid": rows.take(slice(0, 100))})


def ours(data: Dataset, batch_size: int, n_steps: int, device: str, clock: Clock) -> Callable[[], float]:
    """One epoch of compression.train.loop, by its own count of rows/s: training steps, without validation."""
    model = build("deepfm", data.signature, CONFIG)
    params = TrainParams(epochs=1, batch_size=batch_size)
    return lambda: train(model, data, params, device=device, clock=clock).rows_per_second


def row_by_row(data: Dataset, batch_size: int, n_steps: int, device: str, clock: Clock) -> Callable[[], float]:
    """One round of the usual loop: per-row Dataset, shuffling DataLoader, dense gradients, torch.optim.Adam."""
    model = build("deepfm", data.signature, CONFIG).to(device).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(RowByRow(data.splits["train"]), batch_size=batch_size, shuffle=True)

    def round_() -> float:
        batches = iter(loader)
        begun = _now(device, clock)
        for _ in range(n_steps):
            batch, label = next(batches)
            batch = {name: values.to(device) for name, values in batch.items()}
            optimiser.zero_grad()
            binary_cross_entropy(model(batch), label.to(device)).backward()
            optimiser.step()
        return n_steps * batch_size / (_now(device, clock) - begun)

    return round_


def _now(device: str, clock: Clock) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    return clock()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=8, help="steps of a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = click_log(options.batch_size * options.steps, seed=0)
    loops = {"RecPress": ours, "row by row + dense Adam": row_by_row}
    processor_time = options.threads == 1 and options.device == "cpu"
    clock = time.process_time if processor_time else time.perf_counter
    rounds = {name: make(data, options.batch_size, options.steps, options.device, clock)
              for name, make in loops.items()}
    for round_ in rounds.values():
        round_()  # warm up: memory is taken, kernels are chosen
    rates: dict[str, list[float]] = {name: [] for name in rounds}
    random = np.random.default_rng(1)
    for _ in range(options.rounds):
        for name in random.permutation(list(rounds)):
            rates[str(name)].append(rounds[str(name)]())
    ratios = [a / b for a, b in zip(*rates.values(), strict=True)]
    body = report.table(
        ["loop", "rows/s, median", "lowest to highest"],
        [[name, f"{statistics.median(found):,.0f}", f"{min(found):,.0f} to {max(found):,.0f}"]
         for name, found in rates.items()])
    body += (f"\n\nRatio within a round: **{statistics.median(ratios):.1f}×** (median of {len(ratios)} rounds, lowest "
             f"{min(ratios):.1f}×, highest {max(ratios):.1f}×).\n\nDeepFM, 10 fields of "
             f"{', '.join(f'{size:,}' for size in TABLE_ROWS)} rows, dimension {CONFIG['embedding_dim']}, "
             f"{CONFIG['n_layers']} × {CONFIG['width']} neurons; batch {options.batch_size:,}, {options.steps} steps a "
             f"round, {options.threads} thread(s), {options.device}; Zipf ids; the order within a round is "
             f"random; seconds are {'processor time' if processor_time else 'wall time'}.")
    name = "train_speed" if options.device == "cpu" else f"train_speed_{options.device}"
    report.write(name, "Training speed", body, command=_command(options))


def _command(options: argparse.Namespace) -> str:
    return (f"python -m benchmarks.train_speed --batch-size {options.batch_size} --rounds {options.rounds} "
            f"--steps {options.steps} --threads {options.threads} --device {options.device}")


if __name__ == "__main__":
    main()
