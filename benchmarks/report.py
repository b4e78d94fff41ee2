"""What every benchmark prints first, and how it writes its table to docs/results/."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
PACKAGES = ("torch", "onnxruntime-gpu", "onnxruntime", "onnx", "numpy")


def machine() -> dict[str, str]:
    """Processor, cores, GPU where there is one, Python and package versions. No host name, no user."""
    found = {"CPU": _cpu_model(), "cores": str(len(_usable_cores())), "Python": platform.python_version()}
    gpu = _gpu_model()
    if gpu:
        found["GPU"] = gpu
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; a cell that is None stays empty, because what wasn't measured is absent."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"a row has {len(columns)} cells; got {len(row)}: {row}")
        lines.append("| " + " | ".join("" if cell is None else str(cell).replace("|", "\\|") for cell in row) + " |")
    return "\n".join(lines)


def write(name: str, title: str, body: str, *, command: str) -> Path:
    """docs/results/<name>.md: title, how it was made, machine and versions, then the body. Printed as well."""
    head = ", ".join(f"{key} {value}" if key != "CPU" else value for key, value in machine().items())
    text = f"# {title}\n\nMade by `{command}` on {head}.\n\n{body.strip()}\n"
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.md"
    path.write_text(text, encoding="utf-8")
    print(text)
    return path


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    return platform.processor() or platform.machine()


def _usable_cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _gpu_model() -> str | None:
    try:
        import torch
    except ImportError:
        return None
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
