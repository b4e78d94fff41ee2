"""Exported programs (.pt2) made to do harm, or broken: refused with a sentence or read as data; no code runs."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable

import pytest

from compression.importers.pt2.file import read_pt2
from compression.importers.reader import read_upload
from compression.spec.errors import ModelError
from tests.security.hostile import CANARY, pickled
from tests.security.sound import program_members

pytestmark = pytest.mark.security
SEEDS = 100
MODEL, WEIGHTS = "models/model.json", "data/weights/model_weights_config.json"


@pytest.fixture(scope="module")
def members() -> dict[str, bytes]:
    """The members of a sound file, without the name of the archive."""
    return program_members()


@pytest.fixture
def canary(tmp_path):
    path = tmp_path / CANARY
    yield path
    assert not path.exists(), "code from an upload ran"


def packed(members: dict[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"archive/{name}" if not name.startswith("!") else name[1:], content)
    return buffer.getvalue()


def read(data: bytes, folder):
    path = folder / "m.pt2"
    path.write_bytes(data)
    return read_pt2(path, "m.pt2")


def edited(members: dict[str, bytes], member: str, change: Callable[[dict], None]) -> bytes:
    content = json.loads(members[member])
    change(content)
    return packed(members | {member: json.dumps(content).encode()})


def nodes(model: dict) -> list[dict]:
    return model["graph_module"]["graph"]["nodes"]


def first_weight(config: dict) -> dict:
    return next(iter(config["config"].values()))


def call(target: str) -> Callable[[dict], None]:
    return lambda model: nodes(model)[1].update(target=target)


def argument(kind: str, value: object) -> Callable[[dict], None]:
    return lambda model: nodes(model)[0]["inputs"].append({"name": "x", "arg": {kind: value}, "kind": 1})


def meta(**changes) -> Callable[[dict], None]:
    return lambda config: first_weight(config)["tensor_meta"].update(changes)


TARGETS = ("os.system", "builtins.eval", "torch.ops.aten.from_file.default", "torch.ops.prim.device.default",
           "torch.ops.aten.relu.default.__class__", "torch.load", "torch.ops.custom.evil.default",
           "torch.ops.aten.save.default", "torch.ops.higher_order.cond", "_operator.attrgetter",
           "torch.ops.aten.bernoulli.p", "math.ceil")
EDITS = {
    **{f"a call of {target}": (MODEL, call(target), r"calls '.*', which is not among") for target in TARGETS},
    "an argument that names code": (MODEL, argument("as_operator", "os.system"), "argument of kind 'as_operator'"),
    "an argument that is a graph": (MODEL, argument("as_graph", {"name": "x"}), "argument of kind 'as_graph'"),
    "an object of its own": (MODEL, argument("as_custom_obj", {"name": "x"}), "argument of kind 'as_custom_obj'"),
    "a text to be looked up": (MODEL, argument("as_string", "__import__('os')"), "argument of kind 'as_string'"),
    "a symbolic expression": (MODEL, argument("as_sym_int", {"as_expr": {"expr_str": "__import__('os').system('x')"}}),
                              "a symbol that is no number"),
    "a weight that is pickled": (WEIGHTS, lambda config: first_weight(config).update(use_pickle=True), "is pickled"),
    "a weight at a path": (WEIGHTS, lambda config: first_weight(config).update(path_name="../../etc/passwd"),
                           "is pickled"),
    "a weight of terabytes": (WEIGHTS, meta(sizes=[{"as_int": 2**40}, {"as_int": 4}]), "reaches outside its numbers"),
    "a weight of negative length": (WEIGHTS, meta(sizes=[{"as_int": -1}, {"as_int": 4}]), "makes no sense"),
    "a weight beyond its bytes": (WEIGHTS, meta(storage_offset={"as_int": 10**9}), "reaches outside its numbers"),
    "a weight of strange steps": (WEIGHTS, meta(strides=[{"as_int": 2**62}, {"as_int": 1}]), "reaches outside"),
    "a weight of an unknown type": (WEIGHTS, meta(dtype=99), "is not an exported program"),
    "a weight with a name that hides": (WEIGHTS, lambda config: config["config"].update(
        {"table\u202egpj.weight": first_weight(config)}), "names a tensor"),
    "two million nodes": (MODEL, lambda model: nodes(model).extend(nodes(model) * 7000), "at most 20,000 are read"),
    "a value nobody computed": (MODEL, lambda model: nodes(model)[0]["inputs"][0].update(
        arg={"as_tensor": {"name": "nowhere"}}), "that nothing has computed"),
    "a program that changes its state": (MODEL, lambda model: model["graph_module"]["signature"]["output_specs"]
                                         .append({"buffer_mutation": {"arg": {"as_tensor": {"name": "x"}}}}),
                                         "changes its own state"),
    "no signature": (MODEL, lambda model: model["graph_module"].pop("signature"), "is not an exported program"),
    "a graph that is a list": (MODEL, lambda model: model["graph_module"].update(graph=[]), "not an exported program"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_program_that_asks_for_more_than_numbers_is_refused(name, members, tmp_path):
    member, change, sentence = EDITS[name]
    with pytest.raises(ModelError, match=sentence) as refused:
        read(edited(members, member, change), tmp_path)
    assert str(refused.value).endswith(".")


def test_the_sound_file_is_read(members, tmp_path):
    assert [item.name for item in read(packed(members), tmp_path).inputs] == ["user"]


def test_pickles_inside_stay_closed(members, tmp_path, canary):
    inside = {name: pickled(canary) for name in members if name.startswith("data/sample_inputs/")}
    assert inside
    read(packed(members | inside), tmp_path)


MEMBERS = {
    "a file above the folder": {"!archive/../../evil.py": b"x"},
    "a file at an absolute path": {"!/etc/cron.d/evil": b"x"},
    "a shared library": {"data/aotinductor/model/evil.so": b"\x7fELF"},
    "a Python file": {"extra/../evil.py": b"x"},
    "a pickled constant": {"data/constants/custom_obj_0": b"\x80\x04."},
    "a second model": {"models/other.json": b"{}"},
    "big-endian": {"byteorder": b"big"},
    "JSON that is none": {MODEL: b"{nonsense"},
    "JSON nested without end": {MODEL: b"[" * 100_000},
    "JSON that is a number": {MODEL: b"1"},
}


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_that_does_not_belong_is_refused(name, members, tmp_path):
    with pytest.raises(ModelError):
        read(packed(members | MEMBERS[name]), tmp_path)


def test_a_compressed_archive_is_refused(members, tmp_path):
    with pytest.raises(ModelError, match="is compressed"):
        read(packed(members, compression=zipfile.ZIP_DEFLATED), tmp_path)


def test_a_checkpoint_named_as_a_program_is_refused(tmp_path, canary):
    path = tmp_path / "m.pt2"
    path.write_bytes(pickled(canary))
    with pytest.raises(ModelError, match="is not an exported program"):
        read_upload({"m.pt2": path}, tmp_path / "model")


@pytest.mark.parametrize("part", range(16))
def test_a_program_cut_off_anywhere_is_refused(part, members, tmp_path):
    data = packed(members)
    with pytest.raises(ModelError):
        read(data[:len(data) * part // 16], tmp_path)


def test_programs_with_any_bytes_changed_are_refused_or_read(members, tmp_path, canary):
    whole = packed(members | {name: pickled(canary) for name in members if name.startswith("data/sample_inputs/")})
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
    assert "refused" in outcomes


def test_json_with_any_value_changed_is_refused_or_read(members, tmp_path):
    """Deeper than bytes: values of the model's JSON replaced by others of the wrong kind."""
    strange = (None, -1, 2**70, "x", [], {}, True, 1e308, {"as_none": True}, [[]], "torch.ops.aten.relu.default")
    for seed in range(SEEDS):
        draw = random.Random(seed)
        content = json.loads(members[MODEL])
        place = content["graph_module"]
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw.choice(keys)
            if not isinstance(place[key], dict | list) or not place[key] or draw.random() < 0.15:
                break
            place = place[key]
        place[key] = draw.choice(strange)
        try:
            read(packed(members | {MODEL: json.dumps(content).encode()}), tmp_path)
        except ModelError as refused:
            assert len(str(refused)) < 600
