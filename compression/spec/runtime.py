"""What can open an exported file and answer requests with it: the runtimes, a file each in compression/runtimes.

    session = RUNTIMES[target.runtime].open(path, **target.session)

A runtime is registered without loading its libraries; `load` and `open` load them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated

from compression.spec.errors import MeasureError
from compression.spec.registry import Registry, one_of
from compression.spec.session import Session

DEFAULT_RUNTIME = "onnxruntime"  # of a target that names none; a bundle's predict.py uses it too


@dataclass(frozen=True)
class Runtime:
    """A runtime: what it is called, what it runs on, and how a file is opened with it."""

    key: str
    title: str
    devices: tuple[str, ...]  # of "cpu" and "cuda"
    packages: tuple[str, ...]  # distributions, any of which will do; its errors come from modules of these names
    load: Callable[[], None]  # import its libraries, so that what is taken from then on is the file's own
    opener: Callable[..., Session]

    def open(self, path: Path, *, device: str, threads: int, graph_optimization: str) -> Session:
        """A session of the file. No option has a default: Target.session has them all, so that none is left out.

        Raises MeasureError for a file that can't be opened, and for a device that isn't there.
        """
        if device not in self.devices:
            raise MeasureError(f"Device {device!r} is unknown to {self.title}; allowed are {', '.join(self.devices)}.")
        self.load()
        return self.opener(Path(path), device=device, threads=threads, graph_optimization=graph_optimization)

    @property
    def version(self) -> str:
        """Version of the first of its packages that is installed; "" where none is."""
        for name in self.packages:
            try:
                return metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        return ""


RUNTIMES = Registry[Runtime]("runtime", room="compression.runtimes", group="recpress.runtimes", contract=1)


def runtime(declared: Runtime) -> Runtime:
    """Register a runtime under its key."""
    return RUNTIMES.register(declared.key, declared)


RuntimeKey = Annotated[str, one_of(RUNTIMES)]  # what a target may name
