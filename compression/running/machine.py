"""What the numbers of a run were made on: versions, processor, device."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import torch

import compression
from compression.spec.records import Target
from compression.spec.runtime import RUNTIMES


def compute_device() -> str:
    """Where training and fine-tuning run: the GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def environment(target: Target) -> dict[str, str]:
    """Versions and hardware a result was measured with; no names of machines or people."""
    found = {
        "recpress": compression.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        target.runtime: RUNTIMES[target.runtime].version,
        "numpy": np.__version__,
        "system": platform.system(),
        "processor": _processor(),
        "device": target.device,
        "training_device": compute_device(),
    }
    if compute_device() == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    return found


def cache_origin(model: str, data: str, *, code: str) -> tuple[str, ...]:
    """What a step's outcome depends on beside the recipe: digests of model, data and code, and what computes it."""
    gpu = torch.cuda.get_device_name() if compute_device() == "cuda" else ""
    return model, data, code, compute_device(), gpu, _processor(), str(torch.get_num_threads())


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
