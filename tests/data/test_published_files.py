"""Files as public data sets come: libffm, TREC, MIND, JSON arrays and dictionaries that Python printed."""

import json

import pytest

from compression.data.formats import lines
from compression.data.guess import guess_description
from compression.data.ingest import read_splits, read_table
from compression.data.propose import notes_on, with_negatives
from compression.spec.data_description import Negatives
from compression.spec.errors import DataError


def roles(found):
    return {one.name: one.role.value for one in found.columns}


def test_libffm_has_a_column_for_each_field_and_its_values(tmp_path):
    lines = ["1 0:28:1 1:60:1 2:102:0.5", "0 0:3:1 1:61:1 1:62:1 2:102:2e-1", "1 0:28:1"] * 20
    (tmp_path / "a.ffm").write_text("\n".join(lines))
    found = guess_description(tmp_path / "a.ffm", "d")
    assert roles(found) == {"label": "label", "field_0": "category", "field_1": "multi", "field_2": "category",
                            "value_2": "number"}
    frame = read_table(tmp_path / "a.ffm", found)
    assert frame.rows()[:3] == [(1.0, "28", ["60"], "102", 0.5), (0.0, "3", ["61", "62"], "102", 0.2),
                                (1.0, "28", [], None, None)]
    (tmp_path / "a.ffm").write_text("\n".join([*lines, "1 0:28"]))
    with pytest.raises(DataError, match="row 61 is no label with field:index:value"):
        read_table(tmp_path / "a.ffm", found)


def test_judgements_become_rows_and_those_without_a_negative_get_some(tmp_path):
    (tmp_path / "a.qrels").write_text("".join(f"{k % 9}\t0\td{k}\t{k % 3}\n" for k in range(90)))
    found = guess_description(tmp_path / "a.qrels", "d")
    assert roles(found) == {"query": "user", "document": "item", "relevance": "label"} and found.negatives is None
    assert read_table(tmp_path / "a.qrels", found).rows()[4] == ("4", "d4", "1")
    (tmp_path / "b.qrels").write_text("".join(f"{k % 9} 0 d{k} 1\n" for k in range(90)))
    found = guess_description(tmp_path / "b.qrels", "d")
    assert found.negatives == Negatives(per_positive=1)
    splits = read_splits(tmp_path, found)
    assert sum(one.height for one in splits.values()) == 180 and sum(one["relevance"].sum()
                                                                     for one in splits.values()) == 90


@pytest.mark.parametrize("form", ["libffm", "libsvm", "trec", "impressions"])
def test_a_file_that_is_read_in_pieces_is_read_whole_and_its_rows_are_counted_on(form, tmp_path, monkeypatch):
    draw = {"libffm": lambda k: f"{k % 2} 0:{k}:1 1:7:0.5", "libsvm": lambda k: f"{k % 2} 1:{k} 2:1 # a comment",
            "trec": lambda k: f"q{k} 0 d{k} {k % 2}",
            "impressions": lambda k: MIND.format(k, k % 9, 9, 1, "AM", k % 2, 1 - k % 2).rstrip("\n")}[form]
    path = tmp_path / "rows.txt"
    path.write_bytes("\r\n".join(["\ufeff" + draw(0), "", *(draw(k) for k in range(1, 99))]).encode())
    found = guess_description(path, "d")
    whole = read_table(path, found)
    assert found.format == form and whole.height == 99 * (1 + (form == "impressions"))
    monkeypatch.setattr(lines, "PIECE", 300)
    assert read_table(path, found).equals(whole)
    path.write_text("\n".join([*(draw(k) for k in range(80)), "banana"]))
    with pytest.raises(DataError, match="row 81 "):
        read_table(path, found)


MIND = "{}\tU{}\t11/{}/2019 {}:05:58 {}\tN1 N2\tN3-{} N-4-{}\n"


def test_each_item_of_an_impression_becomes_a_row(tmp_path):
    (tmp_path / "behaviors.tsv").write_text("".join(
        MIND.format(k, k % 9, 9 + k % 4, 1 + k % 12, "AP"[k % 2] + "M", k % 2, 1 - k % 2) for k in range(60)))
    found = guess_description(tmp_path / "behaviors.tsv", "d")
    frame = read_table(tmp_path / "behaviors.tsv", found)
    assert frame.columns == ["label", "impression", "user", "item", "history", "time"] and frame.height == 120
    assert [str(one) for one in frame.row(2)[:4]] == ["1.0", "1", "U1", "N3"] and frame["item"][3] == "N-4"
    assert frame["history"][0].to_list() == ["N1", "N2"] and str(frame["time"][0]) == "2019-11-09 01:05:58"
    assert set(read_splits(tmp_path, found)) == {"train", "valid", "test"}
    (tmp_path / "behaviors.tsv").write_text("1\tU1\t11/9/2019 1:05:58 AM\tN1\tN3 N4\n")
    with pytest.raises(DataError, match="does not say what was clicked"):
        read_table(tmp_path / "behaviors.tsv", guess_description(tmp_path / "behaviors.tsv", "d"))


ROWS = [{"user_id": k % 9, "item_id": k % 7, "rating": 1 + k % 5, "text": "a [b], {c} 'd'", "tags": ["x", "y"]}
        for k in range(300)]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_array_is_read_as_its_objects(indent, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(ROWS, indent=indent))
    found = guess_description(tmp_path / "a.json", "d")
    assert found.format == "jsonl" and [one.name for one in found.columns] == list(ROWS[0])
    frame = read_table(tmp_path / "a.json", found)
    assert frame["rating"].to_list() == [row["rating"] for row in ROWS] and frame["tags"][4].to_list() == ["x", "y"]
    (tmp_path / "a.json").write_text(json.dumps(ROWS, indent=indent)[:-30])
    with pytest.raises(DataError, match="what follows object 299 of the array is no whole JSON object"):
        read_table(tmp_path / "a.json", found)


def test_dictionaries_that_python_printed_are_read(tmp_path):
    lines = [f"{{u'user': u'u{k % 9}', u'hours': {k}., 'ok': True, 'text': u'it\\'s \\u00e9 \\x41', 'at': None, "
             f"'tags': ('a', 'b',), 'n': -2L, 'label': {k % 2}}}" for k in range(300)]
    (tmp_path / "a.json").write_text("\n".join(lines))
    found = guess_description(tmp_path / "a.json", "d")
    assert found.format == "jsonl" and found.label.column == "label"
    row = read_table(tmp_path / "a.json", found).row(3, named=True)
    assert row == {"user": "u3", "hours": 3.0, "ok": True, "text": "it's é A", "at": None, "tags": ["a", "b"], "n": -2,
                   "label": 1}


@pytest.mark.parametrize("line", ["{'a': __import__('os').system('x')}", "{'a': 1 + 1}", "{'a': f'{1}'}", "{'a': b'x'}",
                                  "{" * 5000, "{'a': '\\x1'}"])
def test_what_would_have_to_be_evaluated_is_no_dictionary(line, tmp_path):
    from compression.data.json_text import kind_in

    assert kind_in(line) is None


def test_one_object_that_holds_the_rows_is_told_apart(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"info": {}, "reviews": ROWS}))
    with pytest.raises(DataError, match=r"is one JSON object, and the rows lie in its key 'reviews'\. Write that list"):
        guess_description(tmp_path / "a.json", "d")
    playlists = [{"pid": k, "tracks": [{"uri": f"t{k}"}]} for k in range(9)]
    (tmp_path / "a.json").write_text(json.dumps({"info": {}, "playlists": playlists}))
    with pytest.raises(DataError, match="holds objects of its own in 'tracks': write a table"):
        guess_description(tmp_path / "a.json", "d")


def test_sentences_are_no_ids_and_short_names_are(tmp_path):
    texts = [f"a long sentence number {k % 60} about nothing at all" for k in range(300)]
    (tmp_path / "a.csv").write_text("user,query,shop,click\n" + "".join(
        f"u{k % 9},{texts[k]},New York Shop {k % 50},{k % 2}\n" for k in range(300)))
    assert roles(guess_description(tmp_path / "a.csv", "d")) == {"user": "user", "query": "ignore", "shop": "category",
                                                                 "click": "label"}


def test_what_a_task_decides_is_left_to_it(tmp_path):
    rows = "".join(f"u{k % 9},{k},{k % 2},{k / 7}\n" for k in range(99))
    (tmp_path / "a.csv").write_text("user,time,click,x\n" + rows)
    found = guess_description(tmp_path / "a.csv", "d")
    assert found.split.kind == "time" and "kind" not in found.split.model_fields_set
    assert found.label.at_least == 1 and "at_least" not in found.label.model_fields_set


NEWS = "N{}\tsports\tnfl\tA title {}, \"quoted\tAn abstract\thttps://x/{}\t[]\t[]\n"


@pytest.mark.parametrize(("file", "line", "said"), [
    ("news.tsv", NEWS, "holds the news of MIND: .* Upload behaviors.tsv"),
    ("triples.train.small.tsv", "query {}\tgood passage {}\tbad passage {}\n", "holds triples, .* Write two rows"),
    ("collection.tsv", "{}\tsome passage {} of {}\n", r"holds texts by number, .* Upload judgements \(qrels\)")])
def test_published_texts_are_named_and_what_would_help(file, line, said, tmp_path):
    (tmp_path / file).write_text("".join(line.format(k, k % 7, k) for k in range(60)))
    with pytest.raises(DataError, match=said):
        guess_description(tmp_path / file, "d")


def test_three_columns_of_texts_are_no_triples_unless_the_file_is_called_so(tmp_path):
    (tmp_path / "shops.tsv").write_text("name\ttown\tline\n" + "".join(
        f"shop {k % 9}\tNew York {k % 5}\tall kinds {k % 4}\n" for k in range(60)))
    assert len(guess_description(tmp_path / "shops.tsv", "d").columns) == 3


def test_taobaos_clicks_get_names_so_that_negatives_can_be_drawn(tmp_path):
    (tmp_path / "UserBehavior.csv").write_text("".join(
        f"{k % 9},{k % 40},{k % 7},{('pv', 'buy', 'cart', 'fav')[k % 4]},{1511544070 + k}\n" for k in range(200)))
    found = guess_description(tmp_path / "UserBehavior.csv", "d")
    assert roles(found) == {"user": "user", "item": "item", "category": "category", "behavior": "category",
                            "timestamp": "time"}
    assert any("'behavior' seems to say what happened" in note for note in notes_on(found))
    found = with_negatives(found, per_positive=1, by="uniform")
    assert not any("seems to say" in note for note in notes_on(found))
    splits = read_splits(tmp_path, found)
    assert sum(part.height for part in splits.values()) == 400
