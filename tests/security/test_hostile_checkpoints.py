"""Checkpoints made to do harm, or broken: each is refused with a sentence or read as data, and no code runs."""

from __future__ import annotations

import io
import pickle
import random
from collections import OrderedDict

import pytest
import torch

from compression.importers.checkpoint import inert_pickle
from compression.importers.checkpoint.inert_pickle import plain, read_pickle
from compression.importers.checkpoint.torch_file import read_torch_file
from compression.spec.errors import ModelError
from tests.security.hostile import CANARY, Payload, zipped

pytestmark = pytest.mark.security
SEEDS = 100


def saved(value, *, new: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


class KeyedPayload(Payload):
    """A payload that can be a dictionary's key."""

    def __hash__(self):
        return 1


class Reduced:
    """What a pickle is made to say: a call with any arguments, a state, items."""

    def __init__(self, *parts):
        self.parts = parts

    def __reduce__(self):
        return self.parts


HIDING_PLACES = {
    "beside the weights": lambda evil: {"a": torch.ones(2), "b": evil},
    "as the root": lambda evil: evil,
    "as a dictionary's key": lambda evil: {evil: torch.ones(2)},
    "in a list": lambda evil: {"a": [1, [evil]]},
    "in a tuple": lambda evil: ({"a": torch.ones(2)}, evil),
    "in a set": lambda evil: {"a": {evil}},
    "in an ordered dictionary": lambda evil: OrderedDict(a=torch.ones(2), b=evil),
    "in the arguments of a call": lambda evil: Reduced(OrderedDict, (evil,)),
    "in the state of an object": lambda evil: Reduced(OrderedDict, (), {"x": evil}),
    "in the items of an object": lambda evil: Reduced(list, (), None, iter([evil])),
    "as a hook of a tensor": lambda evil: Reduced(torch._utils._rebuild_tensor_v2, (evil, 0, (2,), (1,), False, {})),
    "as a parameter": lambda evil: {"a": Reduced(torch._utils._rebuild_parameter, (evil, True, OrderedDict()))},
    "as a call of eval": lambda evil: Reduced(eval, (f"open({str(evil.canary)!r}, 'w').write('x')",)),
    "as getattr": lambda evil: Reduced(getattr, (evil, "canary")),
}


@pytest.fixture
def canary(tmp_path):
    path = tmp_path / CANARY
    yield path
    assert not path.exists(), "code from an upload ran"


def read(data: bytes, folder):
    path = folder / "model.pth"
    path.write_bytes(data)
    return read_torch_file(path, "model.pth")


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("place", HIDING_PLACES)
def test_a_payload_is_read_as_data_wherever_it_hides(place, new, tmp_path, canary):
    data = saved(HIDING_PLACES[place](KeyedPayload(canary)), new=new)
    try:
        found = read(data, tmp_path)
    except ModelError as refused:
        assert str(refused).endswith(".")
    else:
        assert all(isinstance(tensor, torch.Tensor) for tensor in found.tensors.values())


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_of_a_payload_is_data(protocol, canary):
    found = plain(read_pickle(pickle.dumps([Payload(canary)], protocol=protocol)))
    assert found[0]["__class__"].endswith(".exec")


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("part", range(16))
def test_a_checkpoint_cut_off_anywhere_is_refused(part, new, tmp_path):
    data = saved({"a": torch.randn(40, 8), "b": torch.arange(100)}, new=new)
    with pytest.raises(ModelError):
        read(data[:len(data) * part // 16], tmp_path)


def tensor_of(*, offset=0, size=(2,), stride=(1,)) -> bytes:
    """A zip checkpoint of two floats whose tensor claims another place, shape or step."""
    class Writer(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", 2) if value == "THE STORAGE" else None

    buffer = io.BytesIO()
    call = Reduced(torch._utils._rebuild_tensor_v2, ("THE STORAGE", offset, size, stride, False, OrderedDict()))
    Writer(buffer, protocol=2).dump({"a": call})
    return zipped({"archive/data.pkl": buffer.getvalue(), "archive/data/0": b"\0" * 8, "archive/version": b"3\n"},
                  compression=0)


def test_a_tensor_inside_its_numbers_is_read(tmp_path):
    assert torch.equal(read(tensor_of(), tmp_path).tensors["a"], torch.zeros(2))


@pytest.mark.parametrize("claim", [
    {"offset": 1}, {"offset": -1}, {"offset": 2**60}, {"size": (3,)}, {"size": (2**40,)}, {"size": (-2,)},
    {"stride": (2**40,)}, {"stride": (-1,)}, {"size": (2**31, 2**31), "stride": (0, 0)}, {"size": (2, 2)},
    {"size": "ab"}, {"offset": 0.5}, {"size": (True,)},
], ids=str)
def test_a_tensor_that_reaches_outside_its_numbers_is_refused(claim, tmp_path):
    with pytest.raises(ModelError, match=r"makes no sense|reaches outside"):
        read(tensor_of(**claim), tmp_path)


def many_times(depth: int) -> list:
    """A list of two of the same list, and so on: few bytes, 2^depth places."""
    found: list = []
    for _ in range(depth):
        found = [found, found]
    return found


def a_circle() -> list:
    found: list = []
    found.append(found)
    return found


BROKEN = {
    "a list repeated a billion times": lambda: saved({"a": torch.ones(1), "b": many_times(40)}),
    "a circle": lambda: saved({"b": a_circle()}),
    "a compressed bomb": lambda: zipped({"archive/data.pkl": pickle.dumps({}), "archive/data/0": b"\0" * 50_000_000}),
    "two roots": lambda: zipped({"a/data.pkl": pickle.dumps({}), "b/data.pkl": pickle.dumps({})}, compression=0),
    "big-endian": lambda: zipped({"a/data.pkl": pickle.dumps({}), "a/byteorder": b"big"}, compression=0),
    "a storage that is not there": lambda: _without(saved({"a": torch.ones(3)}), "/data/0"),
    "a storage of another kind": lambda: _persistent(("storage", io.BytesIO, "0", "cpu", 2)),
    "a storage that is a path": lambda: _persistent(("file", "/etc/passwd")),
    "no pickle at all": lambda: zipped({"a/data.pkl": b"hello"}, compression=0),
    "an empty pickle": lambda: zipped({"a/data.pkl": b""}, compression=0),
    "an extension code": lambda: zipped({"a/data.pkl": b"\x80\x02\x82\x01."}, compression=0),
    "a pickle that goes on": lambda: zipped({"a/data.pkl": b"\x80\x02K\x01K\x02."}, compression=0),
    "a number of a million digits": lambda: zipped({"a/data.pkl": b"L" + b"9" * 1_000_000 + b"L\n."}, compression=0),
}


def _without(data: bytes, ending: str) -> bytes:
    import zipfile

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return zipped({name: archive.read(name) for name in archive.namelist() if not name.endswith(ending)},
                      compression=0)


def _persistent(key: tuple) -> bytes:
    class Writer(pickle.Pickler):
        def persistent_id(self, value):
            return key if value == "THE STORAGE" else None

    buffer = io.BytesIO()
    Writer(buffer, protocol=2).dump(["THE STORAGE"])
    return zipped({"archive/data.pkl": buffer.getvalue()}, compression=0)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_checkpoint_is_refused_with_a_sentence(name, tmp_path):
    with pytest.raises(ModelError) as refused:
        read(BROKEN[name](), tmp_path)
    assert str(refused.value).rstrip().endswith(".") and len(str(refused.value)) < 600


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_checkpoints_with_any_bytes_changed_are_refused_or_read(new, tmp_path, canary):
    whole = saved({"state_dict": {"a": torch.randn(6, 4), "b": torch.arange(5)}, "config": {"lr": 0.1, "x": [1, None]},
                   "evil": Payload(canary)}, new=new)
    outcomes = set()
    for seed in range(SEEDS):
        draw = random.Random(seed)
        data = bytearray(whole)
        for _ in range(draw.choice((1, 2, 8, 32))):
            data[draw.randrange(len(data))] = draw.randrange(256)
        try:
            read(bytes(data), tmp_path)
            outcomes.add("read")
        except ModelError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize(("limit", "said"), [("MAX_PICKLE_BYTES", r"The pickle in the file has \d+ bytes; at most 20"),
                                             ("MAX_OPCODES", "The pickle in the file has more than 20 steps")])
def test_a_pickle_beyond_a_limit_is_refused(limit, said, monkeypatch):
    monkeypatch.setattr(inert_pickle, limit, 20)
    assert read_pickle(pickle.dumps([1, 2])) == [1, 2]
    with pytest.raises(ModelError, match=said):
        read_pickle(pickle.dumps(list(range(40))))
