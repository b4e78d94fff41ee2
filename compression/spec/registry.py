"""Registries: the methods, tasks, formats and runtimes there are, by key; those of installed packages as well.

    METHODS = Registry[Method]("method", room="compression.methods", group="recpress.methods", contract=1)

A file in the room is all that a new entry of ours needs: the room's modules are imported when the registry is read for
the first time, and register themselves. A plug-in declares an entry point in the group, `key = "package.module"`, and
says in that module for which version of the contract it was written: `RECPRESS_CONTRACT = 1`. One that can't be used is
left out, and `problems` says which and why; the program starts all the same. A file of our own that can't be imported
is an error, each time that the registry is read.

A module belongs to whoever's line registers: a plug-in that was imported before the registry was read is judged as any
other, and comes after ours, whose keys it can't take.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import threading
from collections.abc import Iterator, Mapping
from importlib import metadata
from types import ModuleType
from typing import Generic, TypeVar

from pydantic import AfterValidator, ValidationInfo
from pydantic_core import PydanticCustomError

from compression.spec.errors import MissingEntry

Entry = TypeVar("Entry")
CONTRACT = "RECPRESS_CONTRACT"
GROUPS = "recpress."  # what the groups of entry points begin with
STORED = {"stored": True}  # context of validation: a record that was made before keeps a key that isn't here any more


class Registry(Mapping[str, Entry], Generic[Entry]):
    """Entries by key, ours first. Loaded when it is read first; loads no torch by itself."""

    def __init__(self, kind: str, *, room: str, group: str, contract: int) -> None:
        self.kind, self.room, self.group, self.contract = kind, room, group, contract
        self._entries: dict[str, Entry] = {}
        self._makers: dict[str, str] = {}  # key → module that registered it
        self._problems: list[str] = []
        self._failure: Exception | None = None  # of the room itself, whose entries are then not all there
        self._loading = threading.RLock()
        self._begun: set[str] = set()  # "room", "plug-ins"
        self._loaded = False

    def register(self, key: str, entry: Entry) -> Entry:
        """Called by the entry's own module. Raises ValueError for a key that is taken."""
        maker = _registering_module()
        if not _is_in(maker, self.room):
            self._load_room()  # a plug-in that is imported first doesn't take a key of ours
        if key in self._entries:
            raise ValueError(f"the {self.kind} {key} is registered twice")
        self._entries[key], self._makers[key] = entry, maker
        return entry

    @property
    def problems(self) -> list[str]:
        """A sentence for each plug-in that was left out."""
        self._all()
        return self._problems

    @property
    def is_loaded(self) -> bool:
        """Whether somebody has read it."""
        return self._loaded

    def __getitem__(self, key: str) -> Entry:
        entries = self._all()
        if key not in entries:
            raise MissingEntry(f"The {self.kind} {str(key)[:80]!r} isn't here; there are: {', '.join(entries)}. If a "
                               "package brought it, install that package again.")
        return entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, Entry]:
        if not self._loaded:
            with self._loading:  # other threads wait; what is imported meanwhile sees what is there so far
                self._load_room()
                if "plug-ins" not in self._begun:
                    self._begun.add("plug-ins")
                    self._load_plug_ins()
                    self._loaded = True
        return self._entries

    def _load_room(self) -> None:
        with self._loading:
            if self._failure:
                raise self._failure.with_traceback(None)
            if "room" in self._begun:
                return
            self._begun.add("room")
            try:
                package = importlib.import_module(self.room)
                for name in sorted(one.name for one in pkgutil.walk_packages(package.__path__, f"{self.room}.")):
                    importlib.import_module(name)
            except Exception as error:
                self._failure = error
                raise
            except BaseException:  # an interrupt: the next reader goes on
                self._begun.discard("room")
                raise

    def _load_plug_ins(self) -> None:
        for plug_in in sorted(metadata.entry_points(group=self.group), key=lambda point: (point.name, point.value)):
            try:
                self._check(importlib.import_module(plug_in.module))
            except (Exception, SystemExit) as error:  # whatever a stranger's package does, the program starts
                for key in self._made_by(plug_in.module):
                    del self._entries[key], self._makers[key]
                self._problems.append(f"The {self.kind} {plug_in.name!r} ({plug_in.value}) is left out: "
                                      f"{str(error) or type(error).__name__}.")

    def _made_by(self, module: str) -> list[str]:
        return [key for key, maker in self._makers.items() if _is_in(maker, module)]

    def _check(self, module: ModuleType) -> None:
        written_for = getattr(module, CONTRACT, None)
        if written_for != self.contract:
            raise ValueError(f"it was written for version {written_for} of the contract, and this is version "
                             f"{self.contract}" if written_for is not None else
                             f"its module doesn't say {CONTRACT} = {self.contract}")
        if not self._made_by(module.__name__):
            raise ValueError(f"its module registers no {self.kind}")


def _registering_module() -> str:
    """The module whose line is being executed by an import, however many decorators lie between."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return frame.f_globals.get("__name__", "")


def _is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def plug_ins() -> list[metadata.EntryPoint]:
    """The entry points of all plug-ins that are installed, whether they can be used or not, each with its package."""
    return [one for package in metadata.distributions() for one in package.entry_points
            if one.group.startswith(GROUPS)]


def one_of(registry: Registry) -> AfterValidator:
    """For a field of a record that holds a key of the registry: any other one is refused, with those that there are.

    Except in what was stored before (context STORED): its package may be gone, and the rest is read all the same.
    """

    def known(key: str, info: ValidationInfo) -> str:
        if info.context is not STORED and key not in registry:
            raise PydanticCustomError("unknown_key", "must be one of {expected}",
                                      {"expected": ", ".join(f"'{one}'" for one in registry)})
        return key

    return AfterValidator(known)
