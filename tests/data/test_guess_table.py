"""Columns as they come, and the role proposed for each: an input only where it can be known before the event."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from compression.data.description import make_description
from compression.data.guess import guess_description
from compression.data.ingest import read_table
from compression.spec.errors import DataError

ROWS = 400
DRAW = np.random.default_rng(0)
LABEL = DRAW.integers(0, 2, ROWS)
SECONDS = 1_700_000_000 + 37 * np.arange(ROWS)


def some(*values):
    return DRAW.choice(np.array(values), ROWS)


def dates(form: str):
    return [form.format(day=1 + k // 24, hour=k % 24) for k in range(ROWS)]


COLUMNS = [  # name, values, role
    ("sample_weight", np.where(LABEL == 1, 1.0, 20.0), "ignore"),
    ("sampleWeight", np.where(LABEL == 1, 1, 20), "ignore"),
    ("importance weight", DRAW.random(ROWS), "ignore"),
    ("weight", some(1, 5), "ignore"),
    ("ips", DRAW.random(ROWS), "ignore"),
    ("weight", DRAW.normal(70, 12, ROWS).round(1), "number"),
    ("weight_kg", some(1, 2, 5), "category"),
    ("split", some(0, 1), "ignore"),
    ("fold", some(0, 1, 2, 3, 4), "ignore"),
    ("is_train", some(0, 1), "ignore"),
    ("phase", some("train", "valid", "test"), "ignore"),
    ("transactionid", np.where(LABEL == 1, np.arange(ROWS).astype(str), ""), "ignore"),
    ("order_id", DRAW.integers(10**6, 10**7, ROWS), "ignore"),
    ("session_id", DRAW.integers(0, 60, ROWS), "ignore"),
    ("impression_id", [f"i{k // 5}" for k in range(ROWS)], "ignore"),
    ("watch_ratio", DRAW.exponential(1, ROWS).round(3), "ignore"),
    ("play_duration", DRAW.integers(0, 90_000, ROWS), "ignore"),
    ("video_duration", DRAW.integers(3_000, 90_000, ROWS), "number"),
    ("dwell_time_s", DRAW.integers(0, 900, ROWS), "ignore"),
    ("avg_dwell_time", DRAW.integers(0, 900, ROWS), "number"),
    ("click_timestamp", np.where(LABEL == 1, SECONDS.astype(str), ""), "ignore"),
    ("purchase", np.where(LABEL == 1, DRAW.integers(5, 90, ROWS), 0), "ignore"),
    ("is_liked", some(0, 1), "ignore"),
    ("is_follow", some(0, 1), "ignore"),
    ("share", some(0, 1), "ignore"),
    ("nonclk", 1 - LABEL, "ignore"),
    ("n_followers", some(0, 1), "category"),
    ("fnlwgt", DRAW.integers(12_000, 900_000, ROWS), "ignore"),
    ("final_weight", DRAW.random(ROWS), "ignore"),
    ("conversion_id", np.where(LABEL == 1, np.arange(ROWS), -1), "ignore"),
    ("display_id", np.arange(ROWS) // 4, "ignore"),
    ("session", DRAW.integers(0, 900, ROWS), "ignore"),
    ("sessions_last_week", DRAW.integers(0, 90, ROWS), "number"),
    ("watching_times", DRAW.integers(0, 9, ROWS), "ignore"),
    ("played_ratio_pct", DRAW.integers(0, 120, ROWS), "ignore"),
    ("comment_stay_time", DRAW.integers(0, 900, ROWS), "ignore"),
    ("reply_timestamp", [str(SECONDS[k]) if k % 50 == 0 else "" for k in range(ROWS)], "ignore"),
    ("attributed_time", ["2017-11-07 12:00:00" if k % 40 == 0 else "" for k in range(ROWS)], "ignore"),
    ("finished", [f"2017-11-{1 + k % 28:02d}" if k % 9 else "" for k in range(ROWS)], "ignore"),
    ("purchases_last_week", some(0, 1), "category"),
    ("clicks_last_week", DRAW.integers(0, 90, ROWS), "number"),
    ("ctr_7d", DRAW.random(ROWS), "number"),
    ("Unnamed: 0", np.arange(ROWS), "ignore"),
    ("no", np.arange(ROWS) + 1000, "ignore"),
    ("market", ["de"] * ROWS, "ignore"),
    ("constant", [3] * ROWS, "ignore"),
    ("price", some(10, 20, 50, 100), "number"),
    ("age", some(18, 25, 35, 45, 50), "number"),
    ("n_items", some(1, 2, 3), "number"),
    ("position", some(1, 2, 3), "category"),
    ("zip_code", DRAW.integers(10_000, 99_999, ROWS), "category"),
    ("campaign_id", DRAW.integers(1, 500, ROWS), "category"),
    ("is_weekend", some(0, 1), "category"),
    ("event_ts", SECONDS, "time"),
    ("timestamp", SECONDS * 1000, "time"),
    ("when", dates("2024-05-{day:02d} {hour:02d}:00:00"), "time"),
    ("when", dates("{day:02d}~05~2024"), "category"),
    ("uuid", [f"{k:032x}" for k in DRAW.integers(0, 2**62, ROWS)], "ignore"),
    ("score", DRAW.normal(size=ROWS), "number"),
    ("y", DRAW.normal(size=ROWS), "number"),
    ("device", some("ios", "android"), "category"),
    ("tags", ["|".join(DRAW.permutation(list("abcdef"))[:3]) for _ in range(ROWS)], "multi"),
    ("tags", [str([f"t {k}" for k in range(n)]) for n in DRAW.integers(0, 4, ROWS)], "multi"),
    ("member id", some("m1", "m2", "m3"), "user"),
    ("sku", some("s1", "s2", "s3"), "item"),
]


def guessed(folder: Path, **columns):
    pl.DataFrame(columns).write_csv(folder / "rows.csv")
    return guess_description(folder / "rows.csv", "mine")


def roles(description) -> dict[str, str]:
    return {column.name: str(column.role) for column in description.columns}


@pytest.mark.parametrize("place", range(len(COLUMNS)), ids=[f"{name}-{role}" for name, _, role in COLUMNS])
def test_the_proposed_role(place, tmp_path):
    name, values, role = COLUMNS[place]
    found = roles(guessed(tmp_path, **{"click": LABEL, "product": some("a", "b", "c"), name: values}))
    assert found == {"click": "label", "product": "item", name: role}


@pytest.mark.parametrize("form", ["2024-05-{day:02d}T{hour:02d}:00:00+02:00", "05/{day:02d}/2024 {hour:02d}:00",
                                  "2024-05-{day:02d} {hour:02d}:00:00 UTC", "{day:02d}.05.2024"])
def test_times_are_proposed_where_they_can_be_read_and_are_never_an_input(form, tmp_path):
    found = guessed(tmp_path, click=LABEL, product=some("a", "b", "c"), when=dates(form))
    assert roles(found)["when"] in ("time", "ignore")
    (tmp_path / "data.yaml").write_text("")
    from compression.data.ingest import read_splits

    read_splits(tmp_path, found)


@pytest.mark.parametrize(("name", "values"), [
    ("timestamp", SECONDS), ("split", some(0, 1)), ("transactionid", np.arange(ROWS)),
    ("watch_ratio", DRAW.exponential(2, ROWS)), ("is_weekend", some(0, 1)), ("price", some(1, 2, 5)),
    ("sample_weight", some(1, 20)), ("position", some(1, 2, 3)), ("y", DRAW.normal(size=ROWS)),
    ("score", DRAW.normal(size=ROWS)), ("clicks_last_week", some(0, 1)), ("event", some("view", "buy"))])
def test_no_label_rather_than_a_wrong_one(name, values, tmp_path):
    found = guessed(tmp_path, user=some("u1", "u2", "u3"), item=some("a", "b"), **{name: values})
    assert found.label.column == "" and "label" not in roles(found).values()
    with pytest.raises(DataError, match=r"no column has the role label\. Give it to the column that says"):
        make_description(found.model_dump(mode="json"))


@pytest.mark.parametrize(("name", "values", "at_least"), [
    ("label", LABEL, 1), ("is_purchased", LABEL, 1), ("adClick", LABEL, 1), ("booking_bool", LABEL, 1),
    ("target", LABEL, 1), ("Rating", some(1, 2, 3, 4, 5), 4), ("rating", some(.5, 1, 2.5, 5), 4),
    ("score", some(1, 2, 3, 4, 5), 4), ("y", LABEL, 1), ("overall", some(1., 3., 5.), 4), ("label", some(0, 1, 2), 2)])
def test_a_label_is_known_by_its_name_and_values(name, values, at_least, tmp_path):
    found = guessed(tmp_path, user=some("u1", "u2", "u3"), item=some("a", "b"), split=some(0, 1), **{name: values})
    assert (found.label.column, found.label.at_least) == (name, at_least)


ROW = [f"{LABEL[k]},u{k % 9},i{k % 4},{k / 4}" for k in range(ROWS)]


@pytest.mark.parametrize(("head", "lines"), [
    (",click,user,item,price", [f"{k},{row}" for k, row in enumerate(ROW)]),
    ('"",click,user,item,price', [f'"{k + 1}",{row}' for k, row in enumerate(ROW)]),
    ("click,user,item,price,", [f"{row}," for row in ROW]),
    (",click,user,item,price,,", [f"7,{row},," for row in ROW])])
def test_a_column_without_a_name_leaves_the_header_a_header(head, lines, tmp_path):
    (tmp_path / "rows.csv").write_text("\n".join([head, *lines]) + "\n")
    found = guess_description(tmp_path / "rows.csv", "mine")
    assert found.header
    assert roles(found) == {"click": "label", "user": "user", "item": "item", "price": "number"}
    table = read_table(tmp_path / "rows.csv", found)
    assert table.height == ROWS and table["price"].to_list()[:3] == ["0.0", "0.25", "0.5"]


@pytest.mark.parametrize(("head", "cells", "found"), [
    (",user,item,clicked", [f"r{k},u{k % 9},i{k % 4},{'yes' if k % 2 else 'no'}" for k in range(60)], True),
    ("user,clicked,", [f"u{k % 9},{'yes' if k % 2 else 'no'}," for k in range(60)], True),
    ("u77,,maybe", [f"u{k % 9},r{k},{'yes' if k % 2 else 'no'}" for k in range(60)], False),
    (",u1,no", [f"{'a' if k % 3 else ''},u{k % 9},{'yes' if k % 2 else 'no'}" for k in range(60)], False)])
def test_above_words_a_blank_name_stands_above_an_index_or_above_nothing(head, cells, found, tmp_path):
    (tmp_path / "rows.csv").write_text("\n".join([head, *cells]) + "\n")
    description = guess_description(tmp_path / "rows.csv", "mine")
    assert description.header == found
    assert not found or "user" in roles(description)


@pytest.mark.parametrize(("lines", "first", "below"), [
    (["click,user,item,price", *(f"{k},{row}" for k, row in enumerate(ROW))], 4, 5),  # as write.table of R
    (["click,user,item,price", *(f"{row}," for row in ROW)], 4, 5),
    (["click,user,item,price,", *ROW], 5, 4), (["clicks of May", "click,user,item,price", *ROW], 1, 4)])
def test_a_first_line_of_another_width_than_the_rows_is_told(lines, first, below, tmp_path):
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=f"the first line has {first} cells?, but the lines below have {below} "):
        guess_description(tmp_path / "rows.csv", "mine")


def test_names_without_rows_are_no_table(tmp_path):
    for head in ("click,user,item\n", "click,user,item", ",click,user\n"):
        (tmp_path / "rows.csv").write_text(head)
        with pytest.raises(DataError, match=r"rows\.csv has a header but no rows"):
            guess_description(tmp_path / "rows.csv", "mine")


def test_a_name_that_stands_twice_is_told(tmp_path):
    (tmp_path / "rows.csv").write_text("\n".join(["click,user,item,item", *ROW]) + "\n")
    with pytest.raises(DataError, match="several columns named 'item'"):
        guess_description(tmp_path / "rows.csv", "mine")


def test_a_flag_of_what_happened_goes_before_a_count_and_a_count_is_the_last_resort(tmp_path):
    item = some("a", "b")
    assert guessed(tmp_path, item=item, cnt=some(1, 2, 3, 40), is_booking=LABEL).label.column == "is_booking"
    assert guessed(tmp_path, item=item, cnt=some(1, 2, 3, 40)).label.column == "cnt"
    assert guessed(tmp_path, item=item, rating=some(1, 3, 5), verified_purchase=LABEL).label.column == "rating"


def test_a_scale_around_zero_is_positive_above_zero(tmp_path):
    found = guessed(tmp_path, item=some("a", "b"), rating=np.linspace(-10, 10, ROWS + 1)[1:].round(2))
    assert found.label.at_least == 0.05
    assert guessed(tmp_path, item=some("a", "b"), rating=some(-1, 5, 7, 10)).label.at_least == 7


def test_of_several_times_the_finest_orders_the_rows(tmp_path):
    days = [20220422 + k // 200 for k in range(ROWS)]
    found = guessed(tmp_path, click=LABEL, item=some("a", "b"), date=days, time_ms=SECONDS * 1000)
    assert roles(found) == {"click": "label", "item": "item", "date": "ignore", "time_ms": "time"}
    assert found.split.kind == "time"


@pytest.mark.parametrize(("first", "last", "label"), [
    (LABEL, some("a", "b", "c"), "column_1"), (some("a", "b", "c"), LABEL, "column_3"),
    (LABEL, some(0, 1), ""), (some("a", "b"), some("train", "test"), "column_1"), (SECONDS, SECONDS * 2, "")])
def test_without_a_header_the_one_end_of_two_values_is_the_label(first, last, label, tmp_path):
    pl.DataFrame({"a": first, "b": DRAW.integers(0, 50, ROWS), "c": last}).write_csv(tmp_path / "x.csv",
                                                                                    include_header=False)
    assert guess_description(tmp_path / "x.csv", "x").label.column == label
