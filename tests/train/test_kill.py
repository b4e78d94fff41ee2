"""A training killed for real, at any moment, goes on from its checkpoint to the same weights."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from compression.testing.tiny import tiny_dataset, tiny_model
from compression.train.loop import train
from compression.train.params import TrainParams

PARAMS = {"epochs": 60, "batch_size": 64, "patience": 50}
CHILD = f"PARAMS = {PARAMS}" + """
import sys, torch
from pathlib import Path
from compression.train.loop import train
from compression.train.params import TrainParams
from compression.testing.tiny import tiny_dataset, tiny_model
torch.set_num_threads(1)
dataset = tiny_dataset(rows=1000)
train(tiny_model("deepfm", dataset), dataset, TrainParams(**PARAMS), checkpoint=Path(sys.argv[1]), checkpoint_seconds=0)
"""


@pytest.mark.crash
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_kill_9_while_checkpoints_are_written_loses_nothing(tmp_path):
    root = Path(__file__).resolve().parents[2]
    path = tmp_path / "train.ckpt"
    for pause in (0.0, 0.05, 0.21):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], cwd=root,
                                 env=os.environ | {"PYTHONPATH": str(root)})
        before = path.stat().st_mtime_ns if path.exists() else 0
        deadline = time.monotonic() + 120
        while (not path.exists() or path.stat().st_mtime_ns == before) and child.poll() is None:
            assert time.monotonic() < deadline, "the child wrote no checkpoint"
            time.sleep(0.01)
        time.sleep(pause)
        child.kill()
        child.wait()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        dataset = tiny_dataset(rows=1000)
        resumed, whole = tiny_model("deepfm", dataset), tiny_model("deepfm", dataset)
        outcome = train(resumed, dataset, TrainParams(**PARAMS), checkpoint=path)
        train(whole, dataset, TrainParams(**PARAMS))
    finally:
        torch.set_num_threads(threads)
    assert outcome.resumed
    assert all(torch.equal(first, second) for first, second in
               zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True))
