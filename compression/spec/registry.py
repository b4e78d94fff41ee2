"""Registries: the methods, tasks, formats and runtimes there are, by key; those of installed packages as well.

    METHODS = Registry[Method]("method", room="compression.methods", group="recpress.methods", contract=1)

A file in the room is all that a new entry of ours needs: the room's modules are imported when the registry is read for
the first time, and register themselves. A plug-in declares an entry point in the group, `key = "package.module"`, and
says in that module for which version of the contract it was written: `RECPRESS_CONTRACT = 1`. One that can't be used is
left out, and `problems` says which and why; the program starts all the same. A file of our own that can't be imported
is an error, each time that the registry is read.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
import threading
from collections.abc import Iterator, Mapping
from importlib import metadata
from types import ModuleType
from typing import Generic, TypeVar

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

Entry = TypeVar("Entry")
CONTRACT = "RECPRESS_CONTRACT"
_log = logging.getLogger(__name__)


class Registry(Mapping[str, Entry], Generic[Entry]):
    """Entries by key, in the order in which they registered. Loaded when it is read first; loads no torch by itself."""

    def __init__(self, kind: str, *, room: str, group: str, contract: int) -> None:
        self.kind, self.room, self.group, self.contract = kind, room, group, contract
        self._entries: dict[str, Entry] = {}
        self._problems: list[str] = []
        self._failure: BaseException | None = None  # of the room itself, whose entries are then not all there
        self._loading = threading.RLock()
        self._started = self._loaded = False

    def register(self, key: str, entry: Entry) -> Entry:
        """Called by the entry's own module. Raises ValueError for a key that is taken."""
        if key in self._entries:
            raise ValueError(f"the {self.kind} {key} is registered twice")
        self._entries[key] = entry
        return entry

    @property
    def problems(self) -> list[str]:
        """A sentence for each plug-in that was left out."""
        self._all()
        return self._problems

    def __getitem__(self, key: str) -> Entry:
        return self._all()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, Entry]:
        if not self._loaded:
            with self._loading:  # other threads wait; what is imported meanwhile sees what is there so far
                if self._failure:
                    raise self._failure
                if not self._started:
                    self._started = True
                    try:
                        self._load()
                    except BaseException as error:
                        self._failure = error
                        raise
                    self._loaded = True
        return self._entries

    def _load(self) -> None:
        package = importlib.import_module(self.room)
        for module in sorted(pkgutil.walk_packages(package.__path__, f"{self.room}."), key=lambda found: found.name):
            importlib.import_module(module.name)
        for plug_in in sorted(metadata.entry_points(group=self.group), key=lambda point: (point.name, point.value)):
            before = dict(self._entries)
            try:
                self._check(importlib.import_module(plug_in.module), set(self._entries) - set(before))
            except (Exception, SystemExit) as error:  # whatever a stranger's package does, the program starts
                self._entries = before
                self._problems.append(f"The {self.kind} {plug_in.name!r} ({plug_in.value}) is left out: "
                                      f"{str(error) or type(error).__name__}.")
                _log.warning(self._problems[-1])

    def _check(self, module: ModuleType, added: set[str]) -> None:
        written_for = getattr(module, CONTRACT, None)
        if written_for != self.contract:
            raise ValueError(f"it was written for version {written_for} of the contract, and this is version "
                             f"{self.contract}" if written_for is not None else
                             f"its module doesn't say {CONTRACT} = {self.contract}")
        if not added:
            raise ValueError(f"its module registers no {self.kind}")


def one_of(registry: Registry) -> AfterValidator:
    """For a field of a record that holds a key of the registry: any other one is refused, with those that there are."""

    def known(key: str) -> str:
        if key not in registry:
            raise PydanticCustomError("unknown_key", "must be one of {expected}",
                                      {"expected": ", ".join(f"'{one}'" for one in registry)})
        return key

    return AfterValidator(known)
