"""A registry is whole or fails: a file of the room that can't be imported is never left out in silence."""

from __future__ import annotations

import sys

import pytest

from compression.spec.registry import Registry

SOUND = "from rooms import THINGS\nTHINGS.register({key!r}, {key!r})\n"


@pytest.fixture
def room(tmp_path, monkeypatch):
    """Give files by name and source; gives the registry of a room that holds them."""
    def make(**files: str) -> Registry:
        (tmp_path / "rooms").mkdir()
        (tmp_path / "rooms" / "__init__.py").write_text(
            "from compression.spec.registry import Registry\n"
            "THINGS = Registry('thing', room='rooms', group='recpress.no_such_group', contract=1)\n")
        for name, source in files.items():
            (tmp_path / "rooms" / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        from rooms import THINGS
        return THINGS

    yield make
    for name in [name for name in sys.modules if name.split(".")[0] == "rooms"]:
        del sys.modules[name]


def test_every_file_of_the_room_registers_what_it_holds(room):
    things = room(a=SOUND.format(key="first"), b=SOUND.format(key="second"))
    assert list(things) == ["first", "second"] and things["second"] == "second" and things.problems == []


def test_a_file_of_the_room_that_fails_is_an_error_each_time_the_registry_is_read(room):
    things = room(a=SOUND.format(key="first"), b="import no_such_module_anywhere\n")
    for read in (list, len, lambda all: "first" in all, lambda all: all.problems):
        with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
            read(things)


def test_a_key_is_registered_once(room):
    things = room(a=SOUND.format(key="first"), b=SOUND.format(key="first"))
    with pytest.raises(ValueError, match="the thing first is registered twice"):
        list(things)
