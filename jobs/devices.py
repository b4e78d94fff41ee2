"""Which devices this machine has, found without importing torch."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

NVIDIA_SMI_S = 10


def worker_devices() -> list[str]:
    """A device for each worker to start: "cuda:0", "cuda:1" … or "cpu" on a machine without a GPU."""
    return [f"cuda:{index}" for index in range(len(visible_gpus()))] or ["cpu"]


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES would name: numbers, or what it names already."""
    limit = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = _gpus()
    if limit is None or not found:
        return found
    named: list[str] = []
    for name in (part.strip() for part in limit.split(",")):
        if not name or name == "-1" or (name.isdecimal() and int(name) >= len(found)):
            break  # as CUDA reads it: what follows an invalid name is hidden
        named.append(name)
    return named


def device_environment(device: str) -> dict[str, str]:
    """The environment that lets a child see its own GPU as cuda:0, and nothing on the CPU."""
    if not device.startswith("cuda"):
        return {"CUDA_VISIBLE_DEVICES": "-1"}
    index = int(device.partition(":")[2] or 0)
    visible = visible_gpus()
    return {"CUDA_VISIBLE_DEVICES": visible[index] if index < len(visible) else str(index)}


def cpu_count() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus() -> list[str]:
    tool = shutil.which("nvidia-smi")
    if tool:
        try:
            said = subprocess.run([tool, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True,
                                  timeout=NVIDIA_SMI_S, check=False).stdout
        except (OSError, subprocess.TimeoutExpired):
            said = ""
        numbers = [line.strip() for line in said.splitlines() if line.strip().isdecimal()]
        if numbers:
            return numbers
    # a container may list the host's GPUs under /proc and be given only some of them as devices
    listed = Path("/proc/driver/nvidia/gpus")
    if not listed.is_dir():
        return []
    devices = sum(1 for path in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name))
    return [str(index) for index in range(min(devices, sum(1 for _ in listed.iterdir())))]
