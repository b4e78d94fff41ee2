"""Every command with words that are wrong: one line that says what, and status 2; never a traceback."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from compression import __main__ as command_line
from compression.data.encode import load_dataset
from compression.data.samples import SAMPLES
from compression.models import zoo
from compression.models.files import save_model
from compression.models.folder import LoadedModel
from compression.spec.records import Recipe, Result, RunSpec
from compression.testing.tiny import write_tiny_data


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset, a model for it, recipes right and wrong, and files that are none of these."""
    folder = tmp_path_factory.mktemp("place")
    dataset = load_dataset(write_tiny_data(folder / "data", rows=400))
    module = zoo.build("lr", dataset.signature, {}, seed=0)
    save_model(folder / "model", LoadedModel(module, dataset.signature, dataset.vocabularies, "lr", module.config))
    shutil.copytree(folder / "model", folder / "torn")
    (folder / "torn" / "model.safetensors").write_bytes(b"torn")
    (folder / "empty").mkdir()
    (folder / "file").write_text("nothing")
    texts = {"empty": "version: 1\nname: empty\nsteps: []\n", "list": "- 1\n", "date": "version: 2024-13-41\n",
             "brackets": "[" * 3000, "unknown": "version: 1\nsteps: [{method: nothing}]\n", "binary": "\0\1\2",
             "nan": "version: 1\nsteps: [{method: prune.magnitude, params: {sparsity: .nan}}]\n",
             "steps": "version: 1\nsteps: 5\n", "key": "version: 1\nother: 5\n", "number": "1: 2\n"}
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


RESULT = Result(spec=RunSpec(model="m", data="d", recipe=Recipe()), baseline=(), measurements=())
RUN = ["run", "--model", "model", "--data", "data", "--recipe", "empty.yaml", "--out", "out"]
TRAIN = ["train", "--data", "data", "--architecture", "lr", "--out", "out"]


def instead(words: list[str], option: str, *values: str) -> list[str]:
    at = words.index(option)
    return [*words[:at + 1], *values, *words[at + 2:]]


WRONG = [
    ([], "COMMAND"),
    (["nothing"], "invalid choice: 'nothing'"),
    (["samples", "nothing"], "There is no sample 'nothing'"),
    (["samples", "generated"], "Say where to put the sample"),
    (["samples", "generated", "--out", "file"], "exists"),
    (["samples", "generated", "--out", "file/below"], "directory"),
    (["inspect"], "required: model"),
    (["inspect", "absent"], "There is no model at absent"),
    (["inspect", "empty"], "There is no model at empty"),
    (["inspect", "torn"], "The file is truncated"),
    (["inspect", "file"], "file"),
    (["inspect", "model", "--data", "absent"], "There is no data.yaml in absent"),
    (["inspect", "model", "--nothing"], "Unrecognized arguments: --nothing"),
    (["methods", "prune"], "Unrecognized arguments: prune"),
    (instead(TRAIN, "--data", "absent"), "There is no data.yaml in absent"),
    (instead(TRAIN, "--data", "empty"), "There is no data.yaml in empty"),
    (instead(TRAIN, "--data", "file"), "file must be a YAML mapping"),
    (instead(TRAIN, "--data", "data/clicks.csv"), "clicks.csv"),
    (instead(TRAIN, "--architecture", "bert"), "There is no architecture 'bert'"),
    (instead(TRAIN, "--out", "file"), "exists"),
    ([*TRAIN, "--seed", "-1"], "seed: Input should be greater than or equal to 0, got -1"),
    ([*TRAIN, "--seed", str(10**30)], "seed: "),
    ([*TRAIN, "--seed", "x"], "invalid int value: 'x'"),
    ([*TRAIN, "--set", "epochs"], "Write a setting as name=value; got 'epochs'"),
    ([*TRAIN, "--set", "epochs=0"], "epochs of training must be a whole number in [1, 200]; got 0"),
    ([*TRAIN, "--set", "epochs=true"], "epochs of training must be a whole number in [1, 200]; got True"),
    ([*TRAIN, "--set", "learning_rate=true"], "learning_rate of training must be in [1e-06, 0.1]; got True"),
    ([*TRAIN, "--set", "epochs=x"], "epochs of training must be a whole number in [1, 200]; got 'x'"),
    ([*TRAIN, "--set", "epochs="], "epochs of training must be"),
    ([*TRAIN, "--set", "=3"], "training has no parameter ;"),
    ([*TRAIN, "--set", "epoch=3"], "training has no parameter epoch; it has: epochs, "),
    ([*TRAIN, "--set", "learning_rate=.nan"], "learning_rate of training must be in [1e-06, 0.1]; got nan"),
    ([*TRAIN, "--set", "learning_rate=-.inf"], "learning_rate of training must be"),
    ([*TRAIN, "--set", "epochs=[1"], "The value of epochs can't be read: "),
    ([*TRAIN, "--set", "epochs=2024-13-41"], "The value of epochs can't be read: "),
    ([*TRAIN, "--set", "epochs=2024-01-01"], "epochs of training must be"),
    ([*TRAIN, "--set", "epochs=!!python/name:os.system"], "The value of epochs can't be read: "),
    ([*TRAIN, "--set", "epochs=" + "[" * 5000], "The value of epochs can't be read: "),
    ([*TRAIN, "--set", "precision=int4"], "precision of training must be one of float32, bfloat16; got 'int4'"),
    ([*TRAIN, "--config", "width=3"], "lr has no setting width"),
    ([*instead(TRAIN, "--architecture", "deepfm"), "--config", "embedding_dim={a: 1}"], "embedding_dim of deepfm must"),
    (instead(RUN, "--model", "absent"), "There is no model at absent"),
    (instead(RUN, "--data", "absent"), "There is no data.yaml in absent"),
    (instead(RUN, "--recipe", "absent.yaml"), "There is no recipe file absent.yaml"),
    (instead(RUN, "--recipe", "empty"), "There is no recipe file empty"),
    (instead(RUN, "--recipe", "list.yaml"), "A recipe is a mapping"),
    (instead(RUN, "--recipe", "date.yaml"), "The recipe can't be read: "),
    (instead(RUN, "--recipe", "brackets.yaml"), "recipe"),
    (instead(RUN, "--recipe", "unknown.yaml"), "There is no method 'nothing'"),
    (instead(RUN, "--recipe", "binary.yaml"), "The recipe can't be read: "),
    (instead(RUN, "--recipe", "nan.yaml"), "sparsity of prune.magnitude must be in [0, 0.99]; got nan"),
    (instead(RUN, "--recipe", "steps.yaml"), "The recipe can't be read: steps"),
    (instead(RUN, "--recipe", "key.yaml"), "The recipe can't be read: other"),
    (instead(RUN, "--recipe", "number.yaml"), "The recipe can't be read"),
    (instead(RUN, "--out", "file"), "exists"),
    ([*RUN, "--threads", "0"], "threads: Input should be greater than or equal to 1, got 0"),
    ([*RUN, "--threads", "x"], "invalid int value: 'x'"),
    ([*RUN, "--batch-sizes", "0"], "batch_sizes.0: Input should be greater than or equal to 1, got 0"),
    ([*RUN, "--batch-sizes", "1", "-3"], "batch_sizes.1: Input should be greater than or equal to 1, got -3"),
    ([*RUN, "--batch-sizes"], "expected at least one argument"),
    ([*RUN, "--device", "tpu"], "invalid choice: 'tpu'"),
    ([*RUN, "--graph-optimization", "much"], "invalid choice: 'much'"),
    (["bundle", "absent.zip"], "absent.zip"),
    (["bundle", "empty"], "empty"),
    (["bundle", "file"], "file is not a whole zip file"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG, ids=str)
def test_a_mistake_ends_with_one_line_and_2(words, sentence, place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    assert command_line.main(words) == 2
    error = capsys.readouterr().err.splitlines()
    assert sentence in error[-1] and error[-1].split(":")[0].endswith("Error")
    assert all(line.startswith("…") for line in error[:-1])  # the stages before it


@pytest.mark.parametrize("words", [["samples", "--json"], ["methods", "--json"], ["inspect", "model", "--json"]])
def test_lists_are_printed(words, place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    assert command_line.main(words) == 0
    assert json.loads(capsys.readouterr().out)


def test_the_samples_are_listed_with_what_they_are(capsys):
    assert command_line.main(["samples"]) == 0
    assert all(f"{key} " in text for key, text in zip(SAMPLES, capsys.readouterr().out.splitlines(), strict=True))


def test_the_description_that_is_named_is_the_one_that_is_read(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    other = yaml.safe_load((place / "data" / "data.yaml").read_text())
    other["columns"] = [column for column in other["columns"] if column["name"] != "age"]
    (place / "data" / "other.yaml").write_text(yaml.safe_dump(other))
    words = instead(TRAIN, "--out", "without-age")
    assert command_line.main([*instead(words, "--data", "data/other.yaml"), "--set", "epochs=1"]) == 0
    signature = json.loads((place / "without-age" / "trained" / "config.json").read_text())["signature"]
    assert [item["name"] for item in signature["inputs"]] == ["user", "item", "genres"]
    (place / "data" / "broken.yaml").write_text("nonsense")
    assert command_line.main(instead(words, "--data", "data/broken.yaml")) == 2
    assert "broken.yaml must be a YAML mapping" in capsys.readouterr().err


def test_a_setting_is_refused_before_the_data_is_read(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    assert command_line.main([*instead(TRAIN, "--data", "empty.yaml"), "--set", "epochs=0"]) == 2
    assert "epochs of training must be" in capsys.readouterr().err


def test_describe_writes_what_is_guessed_and_what_is_made_and_leaves_a_written_file_alone(tmp_path, capsys):
    rows = "".join(f"u{k % 9},i{k % 7},{1_600_000_000 + k}\n" for k in range(300))
    (tmp_path / "log.csv").write_text("user,item,ts\n" + rows)
    words = ["describe", str(tmp_path / "log.csv"), "--negatives", "2", "--by", "popularity", "--history", "5"]
    assert command_line.main(words) == 0
    printed = capsys.readouterr().out
    assert "popularity alone scores about .5" in printed and "a score of 33% is the average row" in printed
    written = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert written["negatives"] == {"per_positive": 2, "by": "popularity", "seed": 0}
    assert written["history"] == {"column": "history", "last": 5} and written["label"] == {"column": "label"}
    assert "kind" not in written["split"]  # the task's
    assert [one["role"] for one in written["columns"]] == ["label", "user", "item", "time", "multi"]
    assert command_line.main(words) == 2
    assert "is there already and was left as it is" in capsys.readouterr().err


def test_describe_says_what_is_still_open_and_reads_an_encoding(tmp_path, capsys):
    rows = "".join(f"Zürich {k % 9},i{k % 7}\n" for k in range(300))
    (tmp_path / "log.csv").write_bytes(("user,item\n" + rows).encode("latin-1"))
    assert command_line.main(["describe", str(tmp_path / "log.csv")]) == 2
    assert "Set encoding: cp1252" in capsys.readouterr().err
    assert command_line.main(["describe", str(tmp_path / "log.csv"), "--encoding", "latin-1", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["description"]["encoding"] == "latin-1"
    assert any("no column has the role label" in note and "set negatives" in note for note in answer["notes"])


def test_recipes_that_begin_alike_share_a_cache_until_the_data_or_the_model_changes(place, tmp_path, monkeypatch):
    data, model = (shutil.copytree(place / name, tmp_path / name) for name in ("data", "model"))
    asked = []
    monkeypatch.setattr("compression.running.run.run", lambda spec, **given: asked.append(given["cache"]) or (
        RESULT.model_copy(update={"spec": spec}), {"bundle.zip": tmp_path}))

    def origin() -> tuple[str, ...]:
        words = ["run", "--model", model, "--data", data, "--recipe", place / "empty.yaml", "--out", tmp_path / "out",
                 "--cache", tmp_path / "cache"]
        assert command_line.main([str(word) for word in words]) == 0
        return asked[-1].origin

    first = origin()
    assert origin() == first and asked[-1].folder == tmp_path / "cache" and asked[-1].target.batch_sizes == (1, 512)
    (data / "note.txt").write_text("no row of the dataset")
    assert origin() == first
    rows = next(path for path in data.iterdir() if path.suffix == ".csv")
    rows.write_text(rows.read_text().rstrip("\n").rsplit("\n", 1)[0] + "\n")
    assert (fewer := origin()) != first
    (model / "note.txt").write_text("x")
    assert origin() not in (first, fewer)


def test_without_the_word_nothing_is_kept_and_what_was_taken_is_said(place, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("compression.running.run.run", lambda spec, **given: asked.append(given["cache"]) or (
        RESULT.model_copy(update={"spec": spec, "cached_steps": 2}), {"bundle.zip": tmp_path}))
    words = ["run", "--model", place / "model", "--data", place / "data", "--recipe", place / "empty.yaml", "--out",
             tmp_path / "out"]
    assert command_line.main([str(word) for word in words]) == 0 and asked == [None]
    assert capsys.readouterr().out.startswith("Steps 1–2 were taken from the cache")


def test_train_repeats_what_drawn_negatives_do_to_its_scores(tmp_path, capsys, monkeypatch):
    from compression.running import reference
    from compression.running.first_look import FirstLook

    trained = SimpleNamespace(size_bytes=1), {"best_epoch": 0, "history": [], "start": {"valid_auc": 0.5},
                                              "metric": "auc", "seconds": 0.0, "stopped_early": True,
                                              "first_look": FirstLook(), "test_quality": "Test AUC 0.6."}
    monkeypatch.setattr(reference, "train_reference", lambda spec, **given: (given["folder"], *trained))
    rows = "".join(f"u{k % 9},i{k},{1_600_000_000 + k}\n" for k in range(99))
    (tmp_path / "log.csv").write_text("user,item,ts\n" + rows)
    words = instead(instead(TRAIN, "--data", str(tmp_path)), "--out", str(tmp_path / "out"))
    assert command_line.main(["describe", str(tmp_path / "log.csv"), "--negatives", "1"]) == 0
    capsys.readouterr()
    assert command_line.main(words) == 0
    assert "1 negative is drawn beside each" in (printed := capsys.readouterr().out)
    assert "validation AUC 0.5" in printed and "a score of 50% is the average row" in printed
    assert command_line.main([*words, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["notes"]) == 1
