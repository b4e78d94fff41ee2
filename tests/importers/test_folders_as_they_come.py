"""Folders of transformers, sentence-transformers and model2vec, zipped as they come, with all that lies in them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from compression.export.onnx import export_onnx
from compression.importers.archive import unpack
from compression.importers.hugging_face.folder import files_of_folder
from compression.importers.reader import read_upload
from compression.models.files import load_model
from compression.runtimes.onnxruntime import open_session
from compression.spec.errors import ModelError
from tests.importers.folders import CONFIG, DIM, bert_state, bert_states, mean_of, write_folder, zipped
from tests.importers.test_hugging_face import BATCH, CLOSE, IDS, MASK, PAIR, TYPES, answers, classifier, imported

ROWS = 50


def with_members(files: dict[str, Path], *names: str) -> dict[str, Path]:
    (path,) = files.values()
    with zipfile.ZipFile(path, "a") as archive:
        for name in names:
            archive.writestr(name, b"\x80\x02anything")
    return files


def vectors_of(state) -> torch.Tensor:
    return mean_of(bert_states(state, IDS, MASK, TYPES), MASK)


def test_a_folder_is_read_with_all_that_systems_training_and_other_runtimes_left_in_it(tmp_path):
    state = bert_state()
    folder = write_folder(tmp_path / "my bert", state, modules=["Pooling"])
    files = with_members(zipped(folder), "my bert/.gitattributes", "my bert/.DS_Store",
                         "__MACOSX/my bert/._config.json", "my bert/onnx/model.onnx",
                         "my bert/assets/a picture.png", "my bert/notes on it.md",
                         "my bert/optimizer.pt", "my bert/training_args.bin", "my bert/pytorch_model.bin",
                         "my bert/tf_model.h5", "my bert/model.pkl")
    read_upload({"bert.zip": next(iter(files.values()))}, tmp_path / "imported")
    torch.testing.assert_close(answers(load_model(tmp_path / "imported").module, BATCH), vectors_of(state), **CLOSE)


def test_a_file_that_would_be_read_keeps_to_plain_names(tmp_path):
    files = with_members(zipped(write_folder(tmp_path / "bert", bert_state())), "bert/my weights.safetensors")
    with pytest.raises(ModelError, match=r"holds a file named 'bert/my weights.safetensors'; letters, .*Rename it"):
        read_upload(files, tmp_path / "imported")


def test_models_in_several_folders_of_a_zip_are_named(tmp_path):
    path = tmp_path / "two.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a/model.onnx", "b/model.onnx", "README.md"):
            archive.writestr(name, b"x")
    with pytest.raises(ModelError, match=r"two.zip holds models in several folders: a, b. Zip one of them"):
        unpack(path, path.name, tmp_path / "out")


def test_files_above_the_model_come_along_and_those_nearer_to_it_count(tmp_path):
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in (("vocabularies.json", "above"), ("README.md", "above"), ("m/README.md", "beside"),
                           ("m/model.onnx", "x"), ("other/binding.json", "x")):
            archive.writestr(name, text)
    found = unpack(path, path.name, tmp_path / "out")
    assert {name: one.read_text() for name, one in found.items()} == {
        "vocabularies.json": "above", "README.md": "beside", "model.onnx": "x"}


@pytest.mark.parametrize("ending", ["bin", "pth"])
def test_a_zip_may_hold_a_checkpoint(ending, tmp_path):
    state = bert_state()
    folder = write_folder(tmp_path / "bert", state)
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / f"pytorch_model.{ending}")
    imported(folder, tmp_path)
    torch.testing.assert_close(answers(load_model(tmp_path / "imported").module, BATCH), vectors_of(state), **CLOSE)


def sharded(folder: Path, state) -> Path:
    names, half = sorted(state), len(state) // 2
    (folder / "model.safetensors").unlink()
    for place, part in enumerate((names[:half], names[half:]), 1):
        save_file({name: state[name] for name in part}, folder / f"model-0000{place}-of-00002.safetensors")
    return folder


def test_two_shards_are_one_model(tmp_path):
    state = bert_state()
    imported(sharded(write_folder(tmp_path / "bert", state), state), tmp_path)
    torch.testing.assert_close(answers(load_model(tmp_path / "imported").module, BATCH), vectors_of(state), **CLOSE)


def test_a_shard_that_did_not_come_is_named(tmp_path):
    state = bert_state()
    folder = sharded(write_folder(tmp_path / "bert", state), state)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"is one of 2 shards, of which 1 came. Upload all of them"):
        imported(folder, tmp_path)


@pytest.mark.parametrize(("mode", "expected"), [
    ("mean", lambda states: mean_of(states, MASK)), ("cls", lambda states: states[:, 0]),
    (["max"], lambda states: states.masked_fill(MASK.unsqueeze(-1) == 0, -1e9).amax(1))])
def test_sentence_transformers_6_names_its_pooling_and_the_tokenizer_says_the_length(mode, expected, tmp_path):
    state = bert_state()
    folder = write_folder(tmp_path / "bert", state, modules=["Pooling"],
                          pooling={"embedding_dimension": DIM, "pooling_mode": mode, "include_prompt": True})
    listed = json.loads((folder / "modules.json").read_text())
    for one, kind in zip(listed, ("base.modules.transformer.Transformer",
                                  "sentence_transformer.modules.pooling.Pooling"), strict=True):
        one["type"] = f"sentence_transformers.{kind}"
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"transformer_task": "feature-extraction"}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 11}))
    _, loaded = imported(folder, tmp_path)
    torch.testing.assert_close(answers(loaded.module, BATCH), expected(bert_states(state, IDS, MASK, TYPES)), **CLOSE)
    assert [item.max_length for item in loaded.signature.inputs] == [11, 11, 11]


def test_a_pooling_of_two_kinds_is_refused_by_name(tmp_path):
    folder = write_folder(tmp_path / "bert", bert_state(), modules=["Pooling"],
                          pooling={"pooling_mode": ["mean", "max"]})
    with pytest.raises(ModelError, match=r"1_Pooling/config.json pools by mean and max; one of mean, cls, max is read"):
        imported(folder, tmp_path)


def test_an_old_folder_keeps_its_transformer_in_a_folder_of_its_own(tmp_path):
    state = bert_state()
    folder = write_folder(tmp_path / "bert", state, modules=["Pooling"])
    (folder / "0_Transformer").mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).rename(folder / "0_Transformer" / name)
    listed = json.loads((folder / "modules.json").read_text())
    listed[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(listed))
    for files in (zipped(folder), files_of_folder(folder)):
        read_upload(files, tmp_path / "imported")
        torch.testing.assert_close(answers(load_model(tmp_path / "imported").module, BATCH), vectors_of(state), **CLOSE)


def test_of_two_labels_the_second_is_scored_against_the_first_unless_the_answer_says_otherwise(tmp_path):
    state = classifier(bert_state())
    draw = torch.Generator().manual_seed(2)
    state |= {"classifier.weight": torch.randn(2, DIM, generator=draw),
              "classifier.bias": torch.randn(2, generator=draw)}
    config = CONFIG | {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "no", "1": "relevant"}}
    folder = write_folder(tmp_path / "bert", state, config)
    inner = {name.removeprefix("bert."): tensor for name, tensor in state.items()}
    first = bert_states(inner, IDS, MASK, TYPES)[:, 0]
    pooled = torch.tanh(F.linear(first, state["bert.pooler.dense.weight"], state["bert.pooler.dense.bias"]))
    logits = F.linear(pooled, state["classifier.weight"], state["classifier.bias"])
    described, loaded = imported(folder, tmp_path)
    torch.testing.assert_close(answers(loaded.module, BATCH).sigmoid(), logits.softmax(-1)[:, 1], **CLOSE)
    assert "the probability of label 1 (relevant) against label 0 (no)" in described.notes[-1]
    _, loaded = imported(folder, tmp_path, {"answers": {"positive": 0}})
    torch.testing.assert_close(answers(loaded.module, BATCH).sigmoid(), logits.softmax(-1)[:, 0], **CLOSE)


def test_three_labels_are_no_score(tmp_path):
    state = classifier(bert_state()) | {"classifier.weight": torch.zeros(3, DIM), "classifier.bias": torch.zeros(3)}
    config = CONFIG | {"architectures": ["BertForSequenceClassification"]}
    with pytest.raises(ModelError, match="scores 3 labels; models of one score, or of two labels, are read"):
        imported(write_folder(tmp_path / "bert", state, config), tmp_path)


def static_folder(folder: Path, tensors, modules: list[str], config=None) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "modules.json").write_text(json.dumps([
        {"idx": place, "name": str(place), "path": f"{place}_{name}" if place else ".",
         "type": f"sentence_transformers.models.{name}"} for place, name in enumerate(modules)]))
    (folder / "tokenizer.json").write_text("{}")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def static_vectors(table) -> torch.Tensor:
    return torch.stack([table[ids[mask == 1]].mean(0) for ids, mask in zip(IDS, MASK, strict=True)])


def test_static_embeddings_are_the_mean_of_their_rows_and_are_exported(tmp_path):
    table = torch.randn(ROWS, 6, generator=torch.Generator().manual_seed(0))
    folder = static_folder(tmp_path / "static", {"embedding.weight": table}, ["StaticEmbedding"])
    described, loaded = imported(folder, tmp_path)
    batch = {"input_ids": IDS, "attention_mask": MASK}
    torch.testing.assert_close(answers(loaded.module, batch), static_vectors(table), **CLOSE)
    assert described.architecture == "static_encoder"
    assert described.notes[0] == "Static embeddings, texts of up to 512 tokens, each as the mean of its tokens."
    _, loaded = imported(folder, tmp_path, PAIR)
    pair = {"query_input_ids": IDS, "query_attention_mask": MASK, "document_input_ids": IDS.flip(0),
            "document_attention_mask": MASK.flip(0)}
    vectors = static_vectors(table)
    expected = 20 * F.cosine_similarity(vectors, vectors.flip(0))
    torch.testing.assert_close(answers(loaded.module, pair), expected, **CLOSE)
    exported = export_onnx(loaded.module, loaded.signature, tmp_path / "again" / "model.onnx")
    scores = open_session(exported.path).score({name: tensor.numpy() for name, tensor in pair.items()})
    torch.testing.assert_close(torch.from_numpy(scores), expected.sigmoid(), **CLOSE)


def test_model2vec_keeps_fewer_rows_than_tokens_and_a_weight_a_token(tmp_path):
    draw = torch.Generator().manual_seed(1)
    rows, weights = torch.randn(7, 6, generator=draw), torch.rand(ROWS, generator=draw)
    mapping = torch.randint(0, 7, (ROWS,), generator=draw)
    tensors = {"embeddings": rows, "weights": weights, "mapping": mapping}
    folder = static_folder(tmp_path / "static", tensors, ["StaticEmbedding", "Normalize"],
                           {"max_length": 9, "normalize": True})
    _, loaded = imported(folder, tmp_path)
    expected = F.normalize(static_vectors(rows[mapping] * weights.unsqueeze(-1)), dim=-1)
    batch = {"input_ids": IDS, "attention_mask": MASK}
    torch.testing.assert_close(answers(loaded.module, batch), expected, **CLOSE)
    assert [(item.cardinality, item.max_length) for item in loaded.signature.inputs] == [(ROWS, 9), (2, 9)]
    (folder / "modules.json").unlink()
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": True}))
    _, loaded = imported(folder, tmp_path)
    torch.testing.assert_close(answers(loaded.module, batch), expected, **CLOSE)


@pytest.mark.parametrize(("tensors", "modules", "message"), [
    ({"embeddings": torch.ones(4, 2), "mapping": torch.tensor([0, 9])}, [], "mapping in model.safetensors names rows"),
    ({"embeddings": torch.ones(4, 2), "weights": torch.ones(3)}, [], "has 3 numbers for 4 tokens"),
    ({"embeddings": torch.ones(4, 2), "other": torch.ones(3)}, [], "static embeddings are one table"),
    ({"embeddings": torch.ones(4, 2)}, ["Dense"], "behind static embeddings Normalize alone is read")])
def test_static_embeddings_that_do_not_fit_together_are_refused(tensors, modules, message, tmp_path):
    with pytest.raises(ModelError, match=message):
        imported(static_folder(tmp_path / "static", tensors, ["StaticEmbedding", *modules]), tmp_path)


@pytest.mark.parametrize(("name", "tokenizer"), [("embedding.weight", "words_tokenizer_config.json"),
                                                 ("embeddings", "tokenizer.json")])
def test_a_lone_table_with_its_tokenizer_is_a_static_encoder(name, tokenizer, tmp_path):
    table = torch.randn(ROWS, 6, generator=torch.Generator().manual_seed(0))
    save_file({name: table}, tmp_path / "words_64.safetensors")
    (tmp_path / tokenizer).write_text("{}")
    files = {path.name: path for path in (tmp_path / "words_64.safetensors", tmp_path / tokenizer)}
    described = read_upload(files, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    batch = {"input_ids": IDS, "attention_mask": MASK}
    torch.testing.assert_close(answers(loaded.module, batch), static_vectors(table), **CLOSE)
    assert described.architecture == "static_encoder"


def test_a_lone_table_alone_says_that_its_tokenizer_would_help_and_is_no_model_of_one_field(tmp_path):
    path = tmp_path / "words.safetensors"
    save_file({"embedding.weight": torch.ones(ROWS, 6)}, path)
    with pytest.raises(ModelError, match=r"tokens \(static embeddings.*tokenizer.json beside the safetensors"):
        read_upload({path.name: path}, tmp_path / "model")
    with pytest.raises(ModelError, match=r"vectors of one field .* pairs of one field don't exist.*tokenizer.json"):
        read_upload({path.name: path}, tmp_path / "model", binding={"answers": {"field_sizes": [ROWS], "pairs": True}})
