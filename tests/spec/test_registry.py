"""A registry is whole or fails: a file of the room that can't be imported is never left out in silence."""

from __future__ import annotations

import sys

import pytest

from compression.spec.errors import MissingEntry
from compression.spec.registry import Registry
from tests.contracts.project_copy import install

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


def test_a_key_that_is_not_there_is_named_with_those_that_are(room):
    things = room(a=SOUND.format(key="first"), b=SOUND.format(key="second"))
    with pytest.raises(MissingEntry, match=r"The thing 'third' isn't here; there are: first, second."):
        things["third"]
    assert things.get("third") is None and "third" not in things


PLUG_IN = "from rooms import THINGS\nRECPRESS_CONTRACT = {contract}\nTHINGS.register({key!r}, {key!r})\n"


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """Install a package with one module that is a plug-in of the room."""
    def install_it(source: str) -> None:
        install(tmp_path, "other_things", source, group="recpress.no_such_group", name="third")

    yield install_it
    sys.modules.pop("other_things", None)


def test_a_plug_in_that_was_imported_before_the_registry_was_read_comes_after_ours(room, plug_in):
    plug_in(PLUG_IN.format(contract=1, key="third"))
    things = room(a=SOUND.format(key="first"))
    import other_things  # noqa: F401
    assert list(things) == ["first", "third"] and things.problems == []


def test_a_plug_in_that_was_imported_before_and_is_of_another_contract_is_left_out(room, plug_in):
    plug_in(PLUG_IN.format(contract=0, key="third"))
    things = room(a=SOUND.format(key="first"))
    import other_things  # noqa: F401
    assert list(things) == ["first"]
    assert things.problems == ["The thing 'third' (other_things) is left out: it was written for version 0 of the "
                               "contract, and this is version 1."]


def test_a_plug_in_never_takes_a_key_of_ours_not_even_when_it_comes_first(room, plug_in):
    plug_in(PLUG_IN.format(contract=1, key="first"))
    things = room(a=SOUND.format(key="first"))
    with pytest.raises(ValueError, match="the thing first is registered twice"):
        import other_things  # noqa: F401
    assert list(things) == ["first"] and things["first"] == "first"
    assert things.problems == ["The thing 'third' (other_things) is left out: the thing first is registered twice."]
