"""Raw rows into arrays: vocabularies and transforms of train, ids of a model."""

from __future__ import annotations

import datetime

import numpy as np
import polars as pl
import pytest

from compression.data.encode import fit_transform, fit_vocabulary, load_dataset, transform_numbers
from compression.data.guess import guess_description
from compression.data.split_csv import export_split_csv
from compression.data.summary import summarise
from compression.spec.errors import DataError
from compression.spec.signature import Input, Signature
from tests.data.write import COLUMNS, click_rows, write_data


def test_a_vocabulary_is_ordered_by_falling_frequency_then_by_value():
    values = pl.Series(["b", "c", "a", "c", "b", None, "d"])
    assert fit_vocabulary(values) == ["b", "c", "a", "d"]
    assert fit_vocabulary(values, min_count=2) == ["b", "c"]


def test_values_only_later_splits_hold_are_unknown(tmp_path):
    rows = click_rows()
    rows[58][2] = "new"
    dataset = load_dataset(write_data(tmp_path, rows))
    assert "new" not in dataset.vocabularies["item"]
    assert dataset.splits["test"].inputs["item"][4] == 0
    assert (dataset.splits["train"].inputs["item"] > 0).all()


def test_ids_stand_for_their_values(tmp_path):
    rows = click_rows()
    dataset = load_dataset(write_data(tmp_path, rows))
    ids, words = dataset.splits["train"].inputs["item"], ["unknown", *dataset.vocabularies["item"]]
    assert [words[k] for k in ids] == [row[2] for row in rows[:48]]
    assert ids.dtype == np.int64 and ids.flags.writeable
    assert dataset.signature.input("item").cardinality == len(words)


def test_missing_cells_become_row_zero_and_transformed_zero(tmp_path):
    rows = click_rows()
    rows[2][2], rows[3][3], rows[4][3], rows[5][4] = "", "", "NA", ""
    train = load_dataset(write_data(tmp_path, rows)).splits["train"].inputs
    assert train["item"][2] == 0 and train["age"][3] == 0 and train["age"][4] == 0
    assert train["tags"][5].tolist() == [0, 0, 0] and train["age"].dtype == np.float32


def test_rare_values_become_unknown(tmp_path):
    rows = click_rows()
    rows[0][2] = "once"
    dataset = load_dataset(write_data(tmp_path, rows, min_count=2))
    assert "once" not in dataset.vocabularies["item"] and dataset.splits["train"].inputs["item"][0] == 0


def test_inputs_are_the_features_in_the_descriptions_order(tmp_path):
    dataset = load_dataset(write_data(tmp_path))
    assert [(item.name, item.kind, item.dtype) for item in dataset.signature.inputs] == [
        ("user", "category", "int64"), ("item", "category", "int64"), ("age", "number", "float32"),
        ("tags", "multi", "int64")]


def test_multi_cells_are_padded_with_zeros_at_the_end(tmp_path):
    rows = [[*row[:4], "|".join("abc"[: 1 + k % 3]), row[5]] for k, row in enumerate(click_rows())]
    dataset = load_dataset(write_data(tmp_path, rows))
    assert dataset.vocabularies["tags"] == ["a", "b", "c"] and dataset.signature.input("tags").max_length == 3
    assert dataset.splits["train"].inputs["tags"][:3].tolist() == [[1, 0, 0], [1, 2, 0], [1, 2, 3]]
    assert dataset.frequencies("tags").tolist() == [0, 48, 32, 16]


def test_unknown_values_of_a_multi_cell_leave_no_gap(tmp_path):
    rows = click_rows()
    rows[59][4] = "new|b| |a"
    dataset = load_dataset(write_data(tmp_path, rows))
    words = ["", *dataset.vocabularies["tags"]]
    assert [words[k] for k in dataset.splits["test"].inputs["tags"][-1]] == ["b", "a", ""]


def test_a_long_multi_cell_keeps_its_first_values(tmp_path):
    signature = Signature(inputs=(Input(name="t", kind="multi", column="tags", cardinality=4, max_length=2),))
    rows = [[*row[:4], "c|b|a", row[5]] for row in click_rows()]
    dataset = load_dataset(write_data(tmp_path, rows), signature=signature, vocabularies={"tags": ["a", "b", "c"]})
    assert dataset.splits["test"].inputs["t"].tolist() == [[3, 2]] * 6


@pytest.mark.parametrize(("mask", "fixed", "length"), [("t", False, 3), ("t", True, 9), ("", False, 9)])
def test_lists_under_a_mask_are_as_long_as_the_longest_of_the_data(tmp_path, mask, fixed, length):
    """A mask says that padding moves no score; lists without one, and lists of fixed length, keep all places."""
    inputs = [Input(name=name, kind="multi", column="tags", cardinality=4, max_length=9, length_of=of,
                    fixed_length=fixed) for name, of in (("t", ""), ("m", mask))]
    rows = click_rows(30)
    for row in rows:
        row[4] = "a|b"
    rows[-1][4] = "a|b|c"
    dataset = load_dataset(write_data(tmp_path, rows), signature=Signature(inputs=tuple(inputs)),
                           vocabularies={"tags": ["a", "b", "c"]})
    assert {values.shape[1] for part in dataset.splits.values() for values in part.inputs.values()} == {length}
    cut = [item.model_copy(update={"max_length": 2}) for item in inputs]
    dataset = load_dataset(tmp_path, signature=Signature(inputs=tuple(cut)), vocabularies={"tags": ["a", "b", "c"]})
    assert {values.shape[1] for part in dataset.splits.values() for values in part.inputs.values()} == {2}


def test_frequencies_count_the_ids_of_train(tmp_path):
    dataset = load_dataset(write_data(tmp_path))
    counts = dataset.frequencies("item")
    assert counts.sum() == 48 and counts[0] == 0 and (np.diff(counts[1:]) <= 0).all()


def test_numbers_are_standardised_on_train(tmp_path):
    dataset = load_dataset(write_data(tmp_path))
    values = dataset.splits["train"].inputs["age"]
    assert abs(values.mean()) < 1e-6 and abs(values.std() - 1) < 1e-6
    assert dataset.signature.input("age").mean == np.mean([float(row[3]) for row in click_rows()[:48]])


def test_skewed_numbers_are_put_on_a_log_scale_first():
    values = np.append(np.exp(np.random.default_rng(0).normal(0, 2, 2000)), np.nan)
    transform, mean, std = fit_transform(values)
    item = Input(name="x", kind="number", column="x", transform=transform, mean=mean, std=std)
    assert transform == "log" and transform_numbers(values, item)[-1] == 0
    logs = np.log1p(values[:-1])
    np.testing.assert_allclose(transform_numbers(values, item)[:-1], (logs - logs.mean()) / logs.std(), rtol=1e-5)


def test_negative_numbers_keep_their_sign_on_a_log_scale():
    item = Input(name="x", kind="number", column="x", transform="log")
    assert transform_numbers(np.array([-3.0, 3.0]), item).tolist() == pytest.approx([-np.log(4), np.log(4)])


@pytest.mark.parametrize("values", [[5.0, 5.0], [np.nan, np.nan], [0.1] * 3])
def test_a_number_that_never_varies_stays_finite(values):
    transform, mean, std = fit_transform(np.array(values))
    item = Input(name="x", kind="number", column="x", transform=transform, mean=mean, std=std)
    assert np.abs(transform_numbers(np.array(values), item)).max() < 1e-6


def test_a_signature_of_another_fit_encodes_the_same_rows_the_same(tmp_path):
    folder = write_data(tmp_path)
    first = load_dataset(folder)
    again = load_dataset(folder, signature=first.signature, vocabularies=first.vocabularies)
    for split, rows in first.splits.items():
        for name, values in rows.inputs.items():
            assert np.array_equal(values, again.splits[split].inputs[name]), (split, name)


def test_as_is_columns_are_taken_as_row_numbers(tmp_path):
    signature = Signature(inputs=(Input(name="a", kind="category", column="age", cardinality=70, ids="as-is"),))
    dataset = load_dataset(write_data(tmp_path), signature=signature)
    assert dataset.splits["train"].inputs["a"].tolist() == [int(row[3]) for row in click_rows()[:48]]
    assert dataset.vocabularies == {}


def test_the_columns_of_a_wide_input_read_their_own_rows_of_a_shared_table(tmp_path):
    parts = (Input(name="f", kind="category", column="item", cardinality=9, offset=0),
             Input(name="f", kind="category", column="age", cardinality=70, ids="as-is", offset=9))
    wide = Input(name="f", kind="category", column="item", parts=parts)
    words = sorted({row[2] for row in click_rows()})
    dataset = load_dataset(write_data(tmp_path), signature=Signature(inputs=(wide,)), vocabularies={"item": words})
    assert dataset.splits["train"].inputs["f"].tolist() == [[1 + words.index(row[2]), 9 + int(row[3])]
                                                            for row in click_rows()[:48]]


def test_a_model_without_a_row_for_unknown_values_reads_its_first_row_for_the_first_value(tmp_path):
    words = sorted({row[2] for row in click_rows()})
    item = Input(name="item", kind="category", column="item", cardinality=len(words), first_id=0)
    rows = click_rows()
    rows[58][2] = "new"
    signature = Signature(inputs=(item,))
    dataset = load_dataset(write_data(tmp_path, rows), signature=signature, vocabularies={"item": words})
    assert dataset.splits["train"].inputs["item"].tolist() == [words.index(row[2]) for row in rows[:48]]
    assert dataset.splits["test"].inputs["item"][4] == 0


def test_the_zeros_of_a_mask_keep_their_places(tmp_path):
    rows = click_rows()
    for row in rows:
        row[4] = "0|1|1"
    rows[0][4], rows[1][4] = "1|0|1", "1"
    mask = {"kind": "multi", "column": "tags", "cardinality": 2, "max_length": 3, "ids": "as-is"}
    signature = Signature(inputs=(Input(name="tags", **mask), Input(name="mask", length_of="tags", **mask)))
    inputs = load_dataset(write_data(tmp_path, rows), signature=signature).splits["train"].inputs
    assert inputs["mask"][:3].tolist() == [[1, 0, 1], [1, 0, 0], [0, 1, 1]]
    assert inputs["tags"][:3].tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 0]]


def test_users_are_grouped_even_when_the_model_does_not_read_them(tmp_path):
    rows = click_rows()
    rows[0][1] = rows[1][1] = ""
    signature = Signature(inputs=(Input(name="n", kind="number", column="age", dtype="float32"),))
    users = load_dataset(write_data(tmp_path, rows), signature=signature).splits["train"].user
    names = [row[1] or f"nobody{k}" for k, row in enumerate(rows[:48])]
    assert len(set(zip(users.tolist(), names, strict=True))) == len(set(names)) == len(set(users.tolist()))


def test_rows_can_be_taken_by_index(tmp_path):
    train = load_dataset(write_data(tmp_path)).splits["train"]
    some = train.take(np.array([5, 1]))
    assert len(some) == 2 and some.label.tolist() == [1.0, 1.0]
    assert some.inputs["tags"].tolist() == train.inputs["tags"][[5, 1]].tolist() and some.user[1] == train.user[1]


@pytest.mark.parametrize(("dtype", "said"), [
    (pl.List(pl.String), "stores it as list"), (pl.Binary, "stores it as binary"), (pl.Struct, "stores it as struct")])
def test_parquet_columns_of_other_types_are_refused_by_name(tmp_path, dtype, said):
    frame = pl.DataFrame(dict(zip([c["name"] for c in COLUMNS], zip(*click_rows(), strict=True), strict=True)))
    item = pl.col("item")
    odd = pl.struct(item) if dtype is pl.Struct else pl.concat_list(item) if dtype != pl.Binary else item.cast(dtype)
    folder = write_data(tmp_path, file="clicks.parquet", format="parquet")
    frame.with_columns(odd.alias("item")).write_parquet(folder / "clicks.parquet")
    with pytest.raises(DataError, match=rf"Column 'item' \(item\) must hold single values; the file {said}\."):
        load_dataset(folder)


@pytest.mark.parametrize("kind", [pl.Categorical(), pl.Duration("us"), pl.Date(), pl.Int8()])
def test_single_values_of_any_type_can_be_a_category(tmp_path, kind):
    frame = pl.DataFrame(dict(zip([c["name"] for c in COLUMNS], zip(*click_rows(), strict=True), strict=True)))
    item = pl.col("item") if kind == pl.Categorical else pl.col("item").str.slice(1).cast(pl.Int32)
    folder = write_data(tmp_path, file="clicks.parquet", format="parquet")
    frame.with_columns(item.cast(kind)).write_parquet(folder / "clicks.parquet")
    plain = load_dataset(write_data(tmp_path)).splits["train"].inputs["item"]
    write_data(tmp_path, file="other.csv", files={"all": "clicks.parquet"}, format="parquet")
    assert (np.bincount(load_dataset(folder).splits["train"].inputs["item"]) == np.bincount(plain)).all()
    assert summarise(folder).columns[2].cardinality == 7
    assert len(export_split_csv(folder, "test", tmp_path / "out.csv").read_text().splitlines()) == 7
    assert len(guess_description(folder / "clicks.parquet", "x").columns) == 6


def test_parquet_types_are_read_as_they_are_meant(tmp_path):
    rows = click_rows()
    days = [datetime.date(2024, 1, 1) + datetime.timedelta(days=k) for k in range(60)]
    frame = pl.DataFrame({
        "click": [row[0] == "1" for row in rows], "user": [float(row[1][1:]) for row in rows],
        "item": [int(row[2][1:]) for row in rows], "age": [None, *(int(row[3]) for row in rows[1:])],
        "tags": [row[4].split("|") for row in rows], "time": days})
    folder = write_data(tmp_path, file="clicks.parquet", format="parquet")
    frame.write_parquet(folder / "clicks.parquet")
    parquet = load_dataset(folder)
    csv = load_dataset(write_data(tmp_path, [[row[0], row[1][1:], row[2][1:], *row[3:]] for row in rows]))
    assert parquet.vocabularies == csv.vocabularies
    assert np.array_equal(parquet.splits["test"].inputs["tags"], csv.splits["test"].inputs["tags"])
    assert parquet.splits["train"].label.sum() == 24 and parquet.splits["train"].inputs["age"][0] == 0
