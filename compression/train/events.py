"""A training's epochs as TensorBoard events, written as they end, where TensorBoard is installed.

    with epoch_events(folder, "fine-tune") as write:
        write(score)                        # tensorboard --logdir of a folder above shows it at once
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from compression.train.outcome import EpochScore

PACKAGE = "tensorboard"
FLUSH_S = 2


def is_installed() -> bool:
    return importlib.util.find_spec(PACKAGE) is not None


@contextmanager
def epoch_events(folder: Path | None, stage: str) -> Iterator[Callable[[EpochScore], None]]:
    """What writes an epoch into `folder`: training loss and each validation metric under the stage's name.

    Writes nothing without a folder or without TensorBoard.
    """
    if folder is None or not is_installed():
        yield lambda score: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder), flush_secs=FLUSH_S) as writer:
        def write(score: EpochScore) -> None:
            for name, value in (("train_loss", score.train_loss), *score.valid.items()):
                if value is not None:
                    writer.add_scalar(f"{stage}/{name}", value, score.epoch)
            writer.flush()

        yield write
