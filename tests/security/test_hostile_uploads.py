"""Every hostile or broken upload is refused with its sentence, and none of them gets code to run."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from compression.importers.reader import read_upload
from compression.importers.sandbox.process import read_in_sandbox
from compression.spec.errors import ModelError
from tests.security.hostile import (
    CANARY,
    CONFIG,
    VALUE,
    N,
    branch,
    broken_values,
    external,
    graph,
    growing,
    hidden_subgraph,
    link_in_zip,
    lying_zip,
    negative,
    onnx_of,
    outside,
    overlapping,
    pickled,
    raw,
    safetensors,
    short_raw,
    table,
    tarred,
    text_tensor,
    torch_zip,
    typed_short,
    with_function,
    zipped,
)

pytestmark = pytest.mark.security
IS_PICKLE = r"is a pickle.*: loading one can run any code.*Save the weights as safetensors"
AXES = numpy_helper.from_array(np.array([1]), "axes")
GOOD = graph().SerializeToString()

CASES = {
    # pickles in every disguise
    "a pickle named .pkl": (raw("m.pkl", pickled), IS_PICKLE),
    "a pickle named .pt": (raw("m.pt", pickled), IS_PICKLE),
    "a pickle named .safetensors": (raw("m.safetensors", pickled), r"in spite of its name \(.safetensors\)"),
    "a pickle named .onnx": (raw("m.onnx", pickled), r"m.onnx is a pickle in spite of its name"),
    "a pickle named .json": (raw("config.json", pickled), r"config.json is a pickle in spite of its name"),
    "a pickle of protocol 0": (raw("m.onnx", lambda c: pickled(c, 0)), r"m.onnx is a pickle in spite of its name"),
    "a pickle of protocol 1": (raw("m.onnx", lambda c: pickled(c, 1)), r"m.onnx is a pickle in spite of its name"),
    "a pickle of protocol 5": (raw("m.safetensors", lambda c: pickled(c, 5)), r"is a pickle in spite of its name"),
    "a pickle as external data": (
        lambda c: {"m.onnx": GOOD, "m.onnx.data": pickled(c)}, r"m.onnx.data is a pickle in spite of its name"),
    "a torch checkpoint alone": (raw("m.pth", torch_zip), r"m.pth holds no tensors"),
    "a torch checkpoint named .safetensors": (raw("m.safetensors", torch_zip), r"holds a pickle \(archive/data.pkl\)"),
    "a torch checkpoint named .zip": (raw("m.zip", torch_zip), r"m.zip holds a pickle \(archive/data.pkl\)"),
    "a TorchScript program": (
        lambda c: {"m.pt": zipped({"m/data.pkl": b"", "m/constants.pkl": b"", "m/code/__torch__.py": b""})},
        r"m.pt is a TorchScript program, whose code is never run"),
    "an old torch checkpoint": (raw("m.onnx", tarred), r"m.onnx is a tar archive, as old PyTorch files are"),
    "a bundle with a pickle under another name": (
        lambda c: {"b.zip": zipped({"model.onnx": GOOD, "notes.txt": pickled(c)})},
        r"notes.txt is a pickle in spite of its name"),
    "a bundle with a program under another name": (
        lambda c: {"b.zip": zipped({"model.onnx": b"\x7fELF\2\1\1" + b"\0" * 60})}, r"model.onnx is a program"),
    "a Keras model in a zip": (
        lambda c: {"b.zip": zipped({"notes.txt": b"a", "m.keras": zipped({"config.json": b"{}",
                                                                          "model.weights.h5": b"weights"})})},
        r"b.zip holds m.keras, which is not read out of a zip. Upload m.keras itself"),
    "a joblib file": (raw("m.joblib", b"anything"), IS_PICKLE),
    "a Hugging Face .bin": (raw("pytorch_model.bin", torch_zip), r"pytorch_model.bin holds no tensors"),
    # other things that are no model
    "a program": (raw("m.so", b"\x7fELF\2\1\1"), r"m.so is a program. A model is data"),
    "a program named .onnx": (raw("m.onnx", b"\x7fELF\2\1\1" + b"\0" * 60), r"m.onnx is a program"),
    "a script": (raw("load.py", b"import os"), r"load.py is a program"),
    "a NumPy file": (raw("m.onnx", b"\x93NUMPY\1\0"), r"is a NumPy file, which can hold pickled objects"),
    "an HDF5 file": (raw("m.safetensors", b"\x89HDF\r\n\x1a\n"), r"is an HDF5 file \(Keras\)"),
    "an empty file": (raw("m.onnx", b""), r"m.onnx is empty; upload it again"),
    "text": (raw("m.onnx", b"hello, world"), r"m.onnx holds text, and no model"),
    "bytes that are no model": (raw("m.onnx", b"\x00\xffhello"), r"m.onnx is not a whole ONNX file"),
    "no model at all": (raw("config.json", CONFIG), r"Upload one model at a time: .* Got: config.json"),
    "two models": (lambda c: {"a.onnx": GOOD, "b.onnx": GOOD}, r"Upload one model at a time: .* Got: a.onnx, b.onnx"),
    "a name that leads elsewhere": (raw("../m.onnx", GOOD), r"A file is named '../m.onnx'; letters, digits"),
    # archives
    "a zip bomb": (lambda c: {"b.zip": zipped({"model.onnx": b"\0" * 60_000_000})}, r"as a zip bomb does"),
    "a zip that lies about its contents": (raw("b.zip", lying_zip()), r"b.zip (holds more in|is a broken zip archive)"),
    "a zip with a path": (lambda c: {"b.zip": zipped({"../../model.onnx": GOOD})}, r"file named '../../model.onnx'"),
    "a zip with an absolute path": (lambda c: {"b.zip": zipped({"/tmp/model.onnx": GOOD})}, r"named '/tmp/model.onnx'"),
    "a zip with a link": (raw("b.zip", link_in_zip()), r"holds a link \(model.onnx\), which is not followed"),
    "a zip in a zip": (lambda c: {"b.zip": zipped({"model.onnx": GOOD, "more.zip": zipped({"a.txt": b"a"})})},
                       r"holds another archive \(more.zip\)"),
    "a zip with thousands of files": (lambda c: {"b.zip": zipped({f"f{k}.txt": b"" for k in range(500)})},
                                      r"holds 500 files; at most 200 are read"),
    "a truncated zip": (lambda c: {"b.zip": zipped({"model.onnx": GOOD})[:-30]}, r"b.zip is not a whole zip archive"),
    "an empty zip": (lambda c: {"b.zip": zipped({})}, r"b.zip is (empty|not a whole zip archive)"),
    "a bundle that was changed": (lambda c: {"b.zip": zipped({"model.onnx": GOOD, "SHA256SUMS": b"00  model.onnx\n"})},
                                  r"model.onnx in b.zip differs from its digest in SHA256SUMS"),
    # ONNX: where its data lies
    "data above the folder": (external("../secret.data"), r"points to '../secret.data'.*paths are not followed"),
    "data at an absolute path": (external("/etc/passwd"), r"points to '/etc/passwd'.*paths are not followed"),
    "data in a folder": (external("weights/m.data"), r"points to 'weights/m.data'"),
    "data at a Windows path": (external("..\\m.data"), r"points to '..\\\\\\\\m.data'|paths are not followed"),
    "data that is hidden": (external(".ssh"), r"points to '.ssh'"),
    "data that did not come": (onnx_of(tensors=[outside("gone.data"), AXES]),
                               r"needs the external data file 'gone.data', which was not uploaded"),
    "data beyond the end": (external("m.data", offset="64"), r"ends at byte 192 of m.data, which has 128"),
    "data before the start": (external("m.data", offset="-64"), r"has the offset '-64'; a whole number is needed"),
    "data of another length": (external("m.data", length="64"), r"needs 128 bytes, but its entry says 64"),
    "data of enormous shape": (external("m.data", dims=(2**40, 64), length=str(2**48)),
                               r"ends at byte 281,474,976,710,656 of m.data, which has 128"),
    "a hundred tensors over the same bytes": (lambda c: overlapping(), r"several of them lie over one another"),
    # ONNX: tensors
    "a tensor that claims terabytes": (raw("m.onnx", short_raw()), r"needs 281,474,976,710,656 bytes, but 64 are"),
    "a tensor with too few numbers": (raw("m.onnx", typed_short()), r"needs 32 values, but 3 are there"),
    "a tensor of negative length": (raw("m.onnx", negative()), r"has a negative length: -8 × -4"),
    "a tensor of texts": (raw("m.onnx", text_tensor()), r"has the type STRING, which is not read"),
    "NaN in the weights": (onnx_of(tensors=[table(broken_values(np.nan)), AXES]), r"has 1 of 32 values that are NaN"),
    "infinity in the weights": (onnx_of(tensors=[table(broken_values(np.inf)), AXES]), r"has 1 of 32 values that are"),
    # ONNX: operators
    "a custom operator": (onnx_of(nodes=[N("Evil", ["user"], ["score"], domain="evil.ops", name="it")],
                                  opsets=(("", 21), ("evil.ops", 1))),
                          r"Operator Evil \(node 'it'\) of m.onnx comes from the domain 'evil.ops': custom operators"),
    "an unknown operator of com.microsoft": (
        onnx_of(nodes=[N("Tokenizer", ["user"], ["score"], domain="com.microsoft")],
                opsets=(("", 21), ("com.microsoft", 1))), r"Tokenizer .* is none of the com.microsoft operators"),
    "an operator nobody knows": (onnx_of(nodes=[N("Frobnicate", ["user"], ["score"])]), r"not a standard ONNX"),
    "a branch": (onnx_of(nodes=branch(), tensors=[table(), AXES, numpy_helper.from_array(np.array(True), "flag")]),
                 r"Operator If \(node 'choose'\) of m.onnx holds a sub-graph: control flow"),
    "a graph hidden in an attribute": (raw("m.onnx", hidden_subgraph()), r"Operator Gather .* holds a sub-graph"),
    "functions of its own": (raw("m.onnx", with_function()), r"defines functions of its own \(Mine\)"),
    "an opset from the future": (onnx_of(opsets=(("", 99),)), r"uses ONNX opset 99; 7 to 24 are read"),
    "an opset of long ago": (onnx_of(opsets=(("", 6),)), r"uses ONNX opset 6; 7 to 24 are read"),
    "a graph that can't be run": (onnx_of(nodes=[N("Gather", ["table", "user"], ["a"]),
                                                 N("Add", ["a", "nowhere"], ["score"])]),
                                  r"m.onnx could not be tried: model.onnx can't be opened by ONNX Runtime"),
    "a graph without operators": (onnx_of(nodes=[]), r"its graph has no operators"),
    "a truncated graph": (raw("m.onnx", GOOD[:len(GOOD) // 2]), r"m.onnx is not a whole ONNX file|not a whole"),
    # ONNX: inputs and outputs
    "no inputs": (onnx_of(inputs=[], nodes=[N("ReduceSum", ["table", "axes"], ["score"])]), r"m.onnx has no inputs"),
    "an input of texts": (onnx_of(inputs=[VALUE("user", TensorProto.STRING, ["batch"])]),
                          r"Input 'user' of m.onnx is STRING"),
    "an input of three axes": (onnx_of(inputs=[VALUE("user", TensorProto.INT64, ["batch", 3, 4])]), r"has 3 axes"),
    "several outputs": (onnx_of(nodes=[N("Gather", ["table", "user"], ["a"]), N("Relu", ["a"], ["b"])], outputs=[
        VALUE(name, TensorProto.FLOAT, None) for name in "ab"]), r"has several outputs that may be the score: a\[0\]"),
    "a row of scores": (onnx_of(nodes=[N("Gather", ["table", "user"], ["score"])]), r"one score for each row is"),
    "ids that no table bounds": (onnx_of(nodes=[N("Cast", ["user"], ["score"], to=1)]),
                                 r"reads no table of rows, so nothing says which ids are allowed"),
    # safetensors
    "a header longer than the file": (raw("m.safetensors", safetensors(b"{}", length=2**40), config__json=CONFIG),
                                      r"its header claims 1,099,511,627,776 bytes, and the file has 10"),
    "a header that is no JSON": (raw("m.safetensors", safetensors(b"{nonsense"), config__json=CONFIG),
                                 r"the header of m.safetensors is not valid JSON"),
    "weights without a config": (raw("m.safetensors", safetensors({"a": {"dtype": "F32", "shape": [1],
                                                                        "data_offsets": [0, 4]}}, b"\0" * 4)),
                                 r"m.safetensors has no config.json of ours beside it"),
    "weights of another architecture": (
        raw("m.safetensors", safetensors({"a": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}}, b"\0" * 32),
            config__json=CONFIG), r"misses .* and has a, which the architecture doesn't know"),
    "weights that are cut off": (
        raw("m.safetensors", safetensors({"a": {"dtype": "F32", "shape": [80], "data_offsets": [0, 320]}}, b"\0" * 32),
            config__json=CONFIG), r"is not a whole safetensors file"),
    "a config that names no architecture": (
        raw("m.safetensors", safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
            config__json=json.dumps({"architecture": "os.system"}).encode()), r"has no config.json of ours beside it"),
    "JSON nested a million deep": (raw("m.safetensors", safetensors({}), config__json=b"[" * 1_000_000),
                                   r"config.json is not valid JSON"),
    "vocabularies that are no lists": (lambda c: {"m.onnx": GOOD, "vocabularies.json": b'{"user": {"a": 1}}'},
                                       r"vocabularies.json must map each column to a list of texts"),
}


@pytest.fixture
def canary(tmp_path):
    """A path that nothing may write to; checked after each test."""
    path = tmp_path / CANARY
    yield path
    assert not path.exists(), "code from an upload ran"


def upload(files, folder):
    """Write the files under harmless names; give them as uploaded: shown name → path."""
    folder.mkdir()
    paths = {}
    for place, (name, content) in enumerate(files.items()):
        path = folder / f"{place}.upload"
        path.write_bytes(content)
        paths[name] = path
    return paths


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_with_a_sentence(name, tmp_path, canary):
    make, sentence = CASES[name]
    with pytest.raises(ModelError, match=sentence) as caught:
        read_upload(upload(make(canary), tmp_path / "uploads"), tmp_path / "model")
    message = str(caught.value)
    assert message.rstrip().endswith((".", "}.", ")")) and "Traceback" not in message and len(message) < 1500


def test_the_payload_would_write_the_canary_if_it_were_loaded(tmp_path):
    canary = tmp_path / "control"
    pickle.loads(pickled(canary))
    assert canary.read_text() == "ran"


def test_there_are_enough_of_them():
    assert len(CASES) >= 70


def test_a_graph_that_grows_when_run_does_not_get_far(tmp_path, canary):
    times = numpy_helper.from_array(np.array([1, 2_000_000_000]), "times")
    model = graph(nodes=growing(), tensors=[table(), AXES, times])
    files = upload({"m.onnx": model.SerializeToString()}, tmp_path / "up")
    with pytest.raises(ModelError, match=r"memory|could not be tried"):
        read_in_sandbox(files, tmp_path / "model")


def test_a_mask_of_minus_infinity_is_no_broken_weight(tmp_path):
    mask = numpy_helper.from_array(np.float32(-np.inf), "mask")
    nodes = [N("Gather", ["table", "user"], ["row"]), N("Greater", ["row", "zero"], ["ok"]),
             N("Where", ["ok", "row", "mask"], ["masked"]), N("Softmax", ["masked"], ["soft"]),
             N("ReduceMax", ["soft", "axes"], ["m"], keepdims=0), N("Sigmoid", ["m"], ["score"])]
    values = np.random.default_rng(0).uniform(0.1, 1, (8, 4)).astype(np.float32)
    values[0, 0] = -1
    model = graph(nodes=nodes, tensors=[table(values), AXES, mask, numpy_helper.from_array(np.float32(0), "zero")])
    read_upload(upload({"m.onnx": model.SerializeToString()}, tmp_path / "up"), tmp_path / "model")
    assert (tmp_path / "model" / "model.onnx").is_file()


def test_text_inside_a_file_is_not_mistaken_for_a_pickle(tmp_path):
    helper.set_model_props(model := graph(), {"note": "cos\nsystem\n(S'echo'\ntR."})
    read_upload(upload({"m.onnx": model.SerializeToString()}, tmp_path / "up"), tmp_path / "model")
