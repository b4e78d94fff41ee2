"""The bundle: its script scores raw rows, equal contents give equal bytes, and a bad zip is refused."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from compression import __main__ as command_line
from compression.data.encode import load_dataset
from compression.export.bundle.files import LARGEST_BYTES, read_bundle, read_signature, write_bundle
from compression.export.onnx import export_onnx
from compression.spec.errors import ModelError
from compression.spec.records import Measurement, Recipe, Result, RunSpec, Step
from compression.spec.signature import Signature
from compression.spec.values import values_of
from compression.tasks.verdict import sentence
from compression.testing.steps import apply
from compression.testing.tiny import tiny_model, write_tiny_data


def result_of(*steps: Step) -> Result:
    auc = Measurement(metric="auc", value=0.81, n=300, ci_low=0.79, ci_high=0.83, split="test")
    changed = auc.model_copy(update={"value": 0.8099, "difference": -0.0001, "difference_low": -0.0004,
                                     "difference_high": 0.0002})
    return Result(spec=RunSpec(model="m", data="d", recipe=Recipe(name="small | <b>one</b>", steps=steps)),
                  baseline=(auc, Measurement(metric="size_bytes", value=1000)),
                  measurements=(changed, Measurement(metric="size_bytes", value=250),
                                Measurement(metric="latency_ratio", value=0.8, batch_size=512)),
                  environment={"processor": "a CPU", "onnxruntime": "1.31"})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A dataset folder, the encoded dataset, and an exported model with int8 rows."""
    folder = tmp_path_factory.mktemp("made")
    write_tiny_data(folder / "data")
    dataset = load_dataset(folder / "data")
    model = apply("embed.quantize_rows", tiny_model("deepfm", dataset, trained=True), dataset).model
    exported = export_onnx(model, dataset.signature, folder / "export" / "model.onnx")
    return folder, dataset, model, exported


def bundle_of(made, path: Path, *, signature: Signature | None = None, description=None,
              result: Result | None = None) -> tuple[Path, Result]:
    _, dataset, _, exported = made
    return write_bundle(path, exported=exported, signature=signature or dataset.signature,
                        vocabularies=dataset.vocabularies, recipe="version: 1\nsteps: []\n",
                        result=result or result_of(Step(method="embed.quantize_rows")), architecture="deepfm",
                        description=description or dataset.description)


@torch.no_grad()
def torch_scores(model, signature, rows) -> np.ndarray:
    batch = {item.name: torch.from_numpy(rows.inputs[item.name]) for item in signature.inputs}
    return torch.sigmoid(model(batch)).numpy()


def run_script(folder: Path, rows: Path) -> np.ndarray:
    command = [sys.executable, folder / "predict.py", rows]
    done = subprocess.run(command, capture_output=True, text=True, cwd=rows.parent)
    assert done.returncode == 0, done.stderr
    return np.array([float(line) for line in done.stdout.split()])


def test_the_script_scores_raw_rows_as_torch_does(made, tmp_path):
    source, dataset, model, _ = made
    path, _ = bundle_of(made, tmp_path / "bundle.zip")
    folder, _ = read_bundle(path, tmp_path / "unpacked")
    scores = run_script(folder, source / "data" / "clicks.csv")
    expected = np.concatenate([torch_scores(model, dataset.signature, dataset.splits[split])
                               for split in ("train", "valid", "test")])
    assert np.abs(scores - expected).max() < 1e-5  # a time split keeps the order of the file


def test_the_script_takes_the_level_that_was_measured(made, tmp_path):
    source, dataset, _, exported = made
    measured = result_of(Step(method="embed.quantize_rows"))
    target = measured.spec.target.model_copy(update={"graph_optimization": "none"})
    result = measured.model_copy(update={"spec": measured.spec.model_copy(update={"target": target})})
    path, _ = write_bundle(tmp_path / "bundle.zip", exported=exported, signature=dataset.signature,
                           vocabularies=dataset.vocabularies, recipe="version: 1\nsteps: []\n", result=result,
                           architecture="deepfm", description=dataset.description)
    folder, again = read_bundle(path, tmp_path / "unpacked")
    assert json.loads((folder / "signature.json").read_text("utf-8"))["graph_optimization"] == "none"
    assert again.spec.target.graph_optimization == "none"
    rows = tmp_path / "rows.csv"
    rows.write_text("\n".join((source / "data" / "clicks.csv").read_text("utf-8").splitlines()[:6]), encoding="utf-8")
    assert len(run_script(folder, rows)) == 5


def test_the_card_says_what_was_called_for_the_latency_and_the_command_line_shows_what_has_no_interval(
        made, tmp_path, capsys):
    _, dataset, _, exported = made
    timed = Measurement(metric="latency_ratio", value=0.8, n=360, batch_size=512, threads=1, sessions=6)
    gap = Measurement(metric="calibration_error", value=0.05, difference=0.01)
    result = result_of().model_copy(update={"measurements": (timed, gap)})
    path, _ = write_bundle(tmp_path / "bundle.zip", exported=exported, signature=dataset.signature,
                           vocabularies=dataset.vocabularies, recipe="version: 1\nsteps: []\n", result=result,
                           architecture="deepfm", description=dataset.description)
    folder, _ = read_bundle(path, tmp_path / "unpacked")
    assert ("Latency: pairs of requests drawn from the test rows (360 at batch size 512), 1 thread, in 6 processes of "
            "which each opens both files anew") in (folder / "README.md").read_text("utf-8")
    assert command_line.main(["bundle", str(path)]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "Calibration error" in line)
    assert "Δ +0.01" in line and "[" not in line


def test_the_script_reads_missing_unknown_and_long_cells_as_the_engine_does(made, tmp_path):
    _, dataset, model, _ = made
    path, _ = bundle_of(made, tmp_path / "bundle.zip")
    folder, _ = read_bundle(path, tmp_path / "unpacked")
    header = ["age", "user", "genres", "item", "other"]
    odd = [["", "", "", "", ""], ["NA", "nobody", "g1 g99  g2", "i3", "x"], ["30.5", "u1", "g0 g1 g2 g3 g4", "i0", ""],
           ["-7", 'u"2', "g5", "i1", "a,b"]]
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *odd])
    scores = run_script(folder, tmp_path / "rows.csv")

    def row_of(column: str, value: str) -> int:
        values = dataset.vocabularies[column]
        return values.index(value) + 1 if value in values else 0

    age = dataset.signature.input("age")
    length = dataset.signature.input("genres").max_length
    batch = {"user": [], "item": [], "genres": [], "age": []}
    for number, user, genres, item, _ in odd:
        batch["user"].append(row_of("user", user))
        batch["item"].append(row_of("item", item))
        known = [row for genre in genres.split(" ") if (row := row_of("genres", genre))]
        batch["genres"].append((known + [0] * length)[:length])
        batch["age"].append(0.0 if number in ("", "NA") else (float(number) - age.mean) / age.std)
    tensors = {name: torch.tensor(values, dtype=torch.float32 if name == "age" else torch.int64)
               for name, values in batch.items()}
    with torch.no_grad():
        expected = torch.sigmoid(model(tensors)).numpy()
    assert np.abs(scores - expected).max() < 1e-5


def test_the_script_reads_a_tab_separated_file_without_a_header(made, tmp_path):
    source, dataset, _, _ = made
    description = dataset.description.model_copy(update={"format": "tsv", "header": False})
    with_header = read_bundle(bundle_of(made, tmp_path / "a.zip")[0], tmp_path / "a")[0]
    without = read_bundle(bundle_of(made, tmp_path / "b.zip", description=description)[0], tmp_path / "b")[0]
    with (source / "data" / "clicks.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:50]
    names = [column.name for column in description.columns]
    (tmp_path / "rows.tsv").write_text("".join("\t".join(row[name] for name in names) + "\n" for row in rows))
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({name: row[name] for name in names} for row in rows)
    assert np.array_equal(run_script(without, tmp_path / "rows.tsv"), run_script(with_header, tmp_path / "rows.csv"))


def test_equal_contents_give_equal_bytes(made, tmp_path):
    first, second = bundle_of(made, tmp_path / "a.zip")[0], bundle_of(made, tmp_path / "b.zip")[0]
    assert first.read_bytes() == second.read_bytes()


def test_every_file_is_in_the_sums_and_the_result_names_the_digests(made, tmp_path):
    path, result = bundle_of(made, tmp_path / "bundle.zip")
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    sums = dict(reversed(line.split("  ")) for line in held["SHA256SUMS"].decode().splitlines())
    assert sums == {name: hashlib.sha256(data).hexdigest() for name, data in held.items() if name != "SHA256SUMS"}
    assert result.files == {name: digest for name, digest in sums.items() if name != "measurements.json"}


def test_reading_gives_back_result_signature_and_vocabularies(made, tmp_path):
    _, dataset, _, exported = made
    path, result = bundle_of(made, tmp_path / "bundle.zip")
    folder, again = read_bundle(path, tmp_path / "unpacked")
    assert again == result
    assert read_signature(folder) == (dataset.signature, dataset.vocabularies)
    assert (folder / "model.onnx").read_bytes() == exported.path.read_bytes()


def test_the_values_of_a_column_that_holds_row_numbers_are_not_among_the_vocabularies(made, tmp_path):
    dataset = made[1]
    first, *others = [item for item in dataset.signature.inputs if item.column in dataset.vocabularies]
    inputs = tuple(item.model_copy(update={"ids": "as-is"}) if item is first else item
                   for item in dataset.signature.inputs)
    path, _ = bundle_of(made, tmp_path / "bundle.zip", signature=Signature(inputs=inputs))
    _, kept = read_signature(read_bundle(path, tmp_path / "unpacked")[0])
    assert sorted(kept) == sorted({item.column for item in others} - {first.column}) and kept


def test_the_card_says_what_was_measured_and_shows_no_markup_of_a_name(made, tmp_path):
    folder, _ = read_bundle(bundle_of(made, tmp_path / "bundle.zip")[0], tmp_path / "unpacked")
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "4.0× smaller, 20 % faster at batch 512, speed not measured at batch 1" in card
    assert "AUC −0.0001 (no worse within 0.001, 95 %)" in card
    assert "| AUC | 0.8099 | 0.81 | -0.00010 | -0.00040 to +0.00020 |" in card
    for heading in ("Intended use", "Data", "Recipe", "Limits", "Run it"):
        assert f"## {heading}" in card
    assert "<b>" not in card and "Latency p50" not in card  # what was not measured is absent


@pytest.mark.parametrize("overflow", [True, False])
def test_the_script_takes_slow_products_only_where_fast_ones_overflow(overflow, made, tmp_path):
    read_bundle(bundle_of(made, tmp_path / "bundle.zip")[0], tmp_path)
    said = (f"import predict\npredict.overflows = lambda: {overflow}\n"
            "print(predict.opened().get_session_options().get_session_config_entry('session.x64quantprecision'))")
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout.strip() == "1") is overflow and (done.returncode == 0) is overflow, done.stderr


@pytest.mark.parametrize(("step", "notes"), [
    (Step(method="quantize.dynamic"), ["VNNI", "measured on each batch"]), (Step(method="quantize.static"), ["VNNI"]),
    (Step(method="quantize.train_dense", params={"n_bits": 8}), ["VNNI"]), (Step(method="quantize.train_dense"), []),
    (Step(method="quantize.weights"), [])], ids=str)
def test_the_card_warns_of_products_in_int8_whoever_made_them(step, notes, made, tmp_path):
    folder, _ = read_bundle(bundle_of(made, tmp_path / "bundle.zip", result=result_of(step))[0], tmp_path / "unpacked")
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert [note for note in ("VNNI", "measured on each batch") if note in card] == notes


def test_the_card_names_columns_as_the_script_expects_them(made, tmp_path):
    _, dataset, _, _ = made
    inputs = tuple(item.model_copy(update={"column": "user's_`age`*"}) if item.name == "age" else item
                   for item in dataset.signature.inputs)
    signature = dataset.signature.model_copy(update={"inputs": inputs})
    folder, _ = read_bundle(bundle_of(made, tmp_path / "bundle.zip", signature=signature)[0], tmp_path / "unpacked")
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "It reads `user`, `item`, `genres`, `` user's_`age`* ``." in card
    assert "`rows.csv` is a table with a header that names `user`, `item`, `genres`, `` user's_`age`* ``" in card


def test_the_card_of_data_without_a_header_gives_the_order_of_the_columns(made, tmp_path):
    description = made[1].description.model_copy(update={"format": "tsv", "header": False})
    path, _ = bundle_of(made, tmp_path / "bundle.zip", description=description)
    card = (read_bundle(path, tmp_path / "unpacked")[0] / "README.md").read_text(encoding="utf-8")
    assert ("is a table without a header, cells delimited by tab, of these columns in this order: `user`, `item`, "
            "`genres`, `age`, `time`, `click`.") in card


def test_the_card_has_the_sentence_of_the_pages_and_names_a_slower_batch_size(made, tmp_path):
    result = result_of()
    slower = Measurement(metric="latency_ratio", value=1.4, batch_size=1)
    worse = Measurement(metric="logloss", value=0.5, difference=0.05, difference_low=0.04, difference_high=0.06)
    result = result.model_copy(update={"measurements": (*result.measurements, slower, worse)})
    folder, _ = read_bundle(bundle_of(made, tmp_path / "bundle.zip", result=result)[0], tmp_path / "unpacked")
    told = sentence("", values_of(result), batch_sizes=result.spec.target.batch_sizes)
    assert "20 % faster at batch 512 but 40 % slower at batch 1" in told and "log loss +0.0500 (worse by" in told
    assert f"{told}**" in (folder / "README.md").read_text(encoding="utf-8")


def rewritten(path: Path, target: Path, **changes: bytes | None) -> Path:
    """The bundle with some files replaced (dots as __), taken away by None, or added; sums made anew."""
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    for name, data in changes.items():
        name = name.replace("__", ".").replace("SLASH", "/")
        held.pop(name, None)
        if data is not None:
            held[name] = data
    held.pop("SHA256SUMS")
    sums = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in held.items()]
    held["SHA256SUMS"] = "".join(sums).encode()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in held.items():
            archive.writestr(name, data)
    return target


@pytest.mark.security
@pytest.mark.parametrize(("changes", "message"), [
    ({"evil__py": b"1"}, "it holds 'evil.py'; allowed are model.onnx"),
    ({"__SLASHetc": b"1"}, "is no RecPress bundle"),
    ({"recipe__yaml": None}, "it lacks recipe.yaml"),
    ({"README__md": b"0" * 10_000_000}, "as a zip bomb does"),
    ({"recipe__yaml": b"0" * 2_000_000}, r"recipe.yaml in .* has 2,000,000 bytes unpacked; at most 1,048,576"),
    ({"measurements__json": b"{}"}, "measurements.json can't be read: spec"),
    ({"signature__json": b"[1]"}, "signature.json or vocabularies.json of the bundle can't be read"),
    ({"vocabularies__json": b'{"user": 5}'}, "must map each column to a list"),
    ({"vocabularies__json": b'{"user": ["a", 5]}'}, "must map each column to a list"),
    ({"vocabularies__json": b'{"user": ["a", "b", "a"]}'}, "The vocabulary of 'user' lists 'a' twice"),
    ({"model__onnx": b"no protobuf at all"}, "model.onnx in the bundle is no ONNX file"),
])
def test_a_bundle_that_was_made_to_harm_is_refused(made, tmp_path, changes, message):
    path = bundle_of(made, tmp_path / "bundle.zip")[0]
    with pytest.raises(ModelError, match=message):
        read_bundle(rewritten(path, tmp_path / "bad.zip", **changes), tmp_path / "unpacked")


@pytest.mark.security
@pytest.mark.parametrize("where", ["/etc/passwd", "../model.onnx.data", "other.data"])
def test_a_graph_that_reads_outside_the_bundle_is_refused(made, tmp_path, where):
    path = bundle_of(made, tmp_path / "bundle.zip")[0]
    with zipfile.ZipFile(path) as archive:
        model = onnx.load_from_string(archive.read("model.onnx"))
    tensor = model.graph.initializer.add(name="w", data_type=onnx.TensorProto.FLOAT, dims=[4],
                                         data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", where), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    bad = rewritten(path, tmp_path / "bad.zip", model__onnx=model.SerializeToString())
    with pytest.raises(ModelError, match="outside the bundle, or beyond the end"):
        read_bundle(bad, tmp_path / "unpacked")


@pytest.mark.security
def test_a_changed_byte_a_cut_file_and_a_text_are_refused(made, tmp_path):
    path = bundle_of(made, tmp_path / "bundle.zip")[0]
    data = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    held["recipe.yaml"] += b" "
    with zipfile.ZipFile(tmp_path / "changed.zip", "w") as archive:
        for name, content in held.items():
            archive.writestr(name, content)
    (tmp_path / "cut.zip").write_bytes(data[:-100])
    (tmp_path / "text.zip").write_text("hello")
    (tmp_path / "flipped.zip").write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    for name, message in (("changed", "differs from its digest in SHA256SUMS"), ("cut", "not a whole zip"),
                          ("text", "not a whole zip"), ("flipped", "not a whole zip|differs")):
        with pytest.raises(ModelError, match=message):
            read_bundle(tmp_path / f"{name}.zip", tmp_path / name)


def test_every_name_a_bundle_may_hold_has_a_limit(made, tmp_path):
    path = bundle_of(made, tmp_path / "bundle.zip")[0]
    with zipfile.ZipFile(path) as archive:
        assert set(archive.namelist()) <= set(LARGEST_BYTES)
        assert json.loads(archive.read("signature.json"))["delimiter"] == ","
