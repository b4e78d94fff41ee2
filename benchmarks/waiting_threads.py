"""What it costs when the threads of a training spin, sleep, or spin shortly, alone and beside a busy neighbour.

    python -m benchmarks.waiting_threads

Processes train the same DeepFM with as many threads as there are cores; they differ in the variables that
`jobs.environment.WAITING` sets for jobs. They run in turn, in random order within each round, once with a neighbour
that keeps one core busy and once without. Wall seconds and processor seconds of an epoch.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import time

from benchmarks import report
from jobs.environment import WAITING

FORMS = {"spin until called": dict.fromkeys(WAITING, ""), "sleep at once": WAITING | {"GOMP_SPINCOUNT": "0"},
         "spin, then sleep": WAITING}


def serve(batch_size: int, n_steps: int, threads: int) -> None:
    """Train an epoch for each line read; answer with its wall and processor seconds."""
    import torch

    from benchmarks.train_speed import CONFIG, click_log
    from compression.models.zoo import build
    from compression.train.loop import train
    from compression.train.params import TrainParams

    torch.set_num_threads(threads)
    data = click_log(batch_size * n_steps, seed=0)
    model, params = build("deepfm", data.signature, CONFIG), TrainParams(epochs=1, batch_size=batch_size)
    for _ in sys.stdin:
        wall, used = time.perf_counter(), time.process_time()
        train(model, data, params)
        print(time.perf_counter() - wall, time.process_time() - used, flush=True)


class Trainer:
    """A process that trains when asked."""

    def __init__(self, form: str, options: argparse.Namespace) -> None:
        environment = {name: value for name, value in (os.environ | FORMS[form]).items() if value}
        environment |= {"OMP_NUM_THREADS": str(options.threads)}
        command = [sys.executable, "-m", "benchmarks.waiting_threads", "--serve", *_arguments(options)]
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)

    def epoch(self) -> tuple[float, float]:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        wall, used = self.process.stdout.readline().split()
        return float(wall), float(used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=100, help="steps of an epoch")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.batch_size, options.steps, options.threads)
        return
    trainers = {form: Trainer(form, options) for form in FORMS}
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    try:
        for trainer in trainers.values():
            trainer.epoch()  # warm up
        for number in range(options.rounds):
            for place in ("alone", "beside a busy neighbour"):
                neighbour.send_signal(signal.SIGSTOP if place == "alone" else signal.SIGCONT)
                for form in random.Random(number).sample(list(trainers), len(trainers)):
                    found.setdefault((place, form), []).append(trainers[form].epoch())
    finally:
        for process in (neighbour, *(trainer.process for trainer in trainers.values())):
            process.kill()
    report.write("waiting_threads", "Threads that wait", _body(found, options),
                 command=" ".join(["python -m benchmarks.waiting_threads", *_arguments(options)]))


def _body(found: dict[tuple[str, str], list[tuple[float, float]]], options: argparse.Namespace) -> str:
    rows = []
    for (place, form), epochs in sorted(found.items()):
        walls, used = zip(*epochs, strict=True)
        rows.append([place, form, f"{statistics.median(walls):.2f}", f"{min(walls):.2f} to {max(walls):.2f}",
                     f"{statistics.median(used):.2f}"])
    return report.table(["machine", "threads wait", "wall s, median", "lowest to highest", "processor s, median"],
                        rows) + (
        f"\n\nAn epoch of {options.steps} steps of {options.batch_size} rows, DeepFM of 10 fields, dimension 16, "
        f"3 × 128 neurons, {options.threads} threads; {options.rounds} rounds, random order within each. Jobs get "
        f"\"spin, then sleep\" (`jobs/environment.py`): {', '.join('='.join(item) for item in WAITING.items())}. "
        "Where the machine is never quite idle, the lowest figures are the nearest to it.")


def _arguments(options: argparse.Namespace) -> list[str]:
    return ["--batch-size", str(options.batch_size), "--steps", str(options.steps), "--rounds", str(options.rounds),
            "--threads", str(options.threads)]


if __name__ == "__main__":
    main()
