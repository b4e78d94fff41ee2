"""Run as a child: one round of pairs at every batch size, in a process of its own.

    python -m compression.measure.latency_round FOLDER

FOLDER has round.json (a Round) and the pool of each batch size as BATCH_SIZE.npz, arrays (batches, rows, …) by input.
Tells its progress on standard output, a Progress as JSON a line; leaves the times in BATCH_SIZE-ROUND.npz.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from compression.measure.pairs import Pairs, clock_of, opened, pool_size, seconds_of_a_pair, time_pairs
from compression.spec.errors import MeasureError
from compression.spec.records import Progress, Record, Target

ROUND = "round.json"


class Part(Record):
    """How often a batch size is timed, and from which batch of its pool on."""

    batch_size: int
    begin: int
    max_pairs: int
    min_pairs: int
    seconds: float


class Round(Record):
    """One round: the files, in which order they are opened, and its batch sizes."""

    number: int
    model: Path
    baseline: Path
    target: Target
    seed: int
    parts: tuple[Part, ...]


def main(folder: Path) -> int:
    """Time the round; 0, or a sentence on standard error and 1."""
    asked = Round.model_validate_json((folder / ROUND).read_bytes())
    try:
        model, baseline = opened(asked.model, asked.baseline, asked.target, swapped=bool(asked.number % 2))
        for part in asked.parts:
            with np.load(folder / f"{part.batch_size}.npz") as stored:
                pool = {name: stored[name] for name in stored.files}
            n_batches = len(next(iter(pool.values())))
            batches = [{name: array[(part.begin + place) % n_batches] for name, array in pool.items()}
                       for place in range(n_batches)]
            in_turn = (baseline, model) if asked.number % 2 else (model, baseline)
            batches = batches[:pool_size(seconds_of_a_pair(in_turn, batches[0]), n_batches, min_pairs=part.min_pairs,
                                         seconds=part.seconds)]
            if asked.number % 2:  # where the batches lie in memory depends on who binds them first
                its = baseline.bind(batches)
                own = model.bind(batches)
            else:
                own = model.bind(batches)
                its = baseline.bind(batches)
            pairs = time_pairs(
                own, its, max_pairs=part.max_pairs, min_pairs=part.min_pairs,
                seconds=part.seconds, clock=clock_of(asked.target),
                generator=np.random.default_rng([asked.seed, part.batch_size, asked.number]), report=_tell(part))
            np.savez(folder / times_name(part.batch_size, asked.number), model=pairs.model, baseline=pairs.baseline,
                     model_first=pairs.model_first)
    except MeasureError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _tell(part: Part):
    def report(progress: Progress) -> None:
        print(progress.model_copy(update={"message": f"batch size {part.batch_size}"}).model_dump_json(), flush=True)

    return report


def times_name(batch_size: int, number: int) -> str:
    return f"{batch_size}-{number}.npz"


def read_times(folder: Path, batch_size: int, number: int) -> Pairs:
    """What a round left for a batch size."""
    with np.load(folder / times_name(batch_size, number)) as stored:
        return Pairs(stored["model"], stored["baseline"], stored["model_first"])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
