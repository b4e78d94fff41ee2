"""Text in other encodings, with other ends of lines, and numbers with a decimal comma: read as the plain file is."""

import polars as pl
import pytest

from compression.data import text_form
from compression.data.columns import numbers, times
from compression.data.guess import guess_description
from compression.data.ingest import read_splits, read_table
from compression.data.text_file import NotUtf8
from compression.data.text_form import plain_text
from compression.spec.errors import DataError
from tests.data.write import write_data

NAMES = ["Zürich", "Genève", "São Paulo", "Malmö"]
TEXT = "user;city;price;time;click\n" + "".join(
    f"u{k % 7};{NAMES[k % 4]};{k}{',5' if k % 3 else ''};{1_600_000_000 + k};{k % 2}\n" for k in range(80))


@pytest.mark.parametrize(("encoding", "said"), [("cp1252", "cp1252"), ("latin-1", "latin-1"), ("utf-16", None)])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_table_in_another_encoding_is_read_as_the_plain_one(encoding, said, end, tmp_path):
    (tmp_path / "log.csv").write_bytes(TEXT.replace("\n", end).encode(encoding))
    found = guess_description(tmp_path / "log.csv", "d", encoding=said)
    assert found.encoding == encoding and found.delimiter == ";"
    frame = pl.concat(read_splits(tmp_path, found).values())
    assert frame["city"].to_list() == [NAMES[k % 4] for k in range(80)]
    assert numbers(frame["price"], what="").tolist() == [k + 0.5 * (k % 3 > 0) for k in range(80)]


def test_an_encoding_is_asked_for_and_a_wrong_one_is_named(tmp_path):
    (tmp_path / "log.csv").write_bytes(TEXT.encode("latin-1"))
    with pytest.raises(NotUtf8, match="Set encoding: cp1252"):
        guess_description(tmp_path / "log.csv", "d")
    with pytest.raises(DataError, match="is not text in the encoding shift_jis"):
        guess_description(tmp_path / "log.csv", "d", encoding="shift_jis")


@pytest.mark.parametrize("piece", [1, 2, 3, 7])
def test_a_delimiter_of_two_characters_is_found_across_pieces(piece, tmp_path, monkeypatch):
    monkeypatch.setattr(text_form, "PIECE", piece)
    (tmp_path / "a.dat").write_text("a::b:c::d\n::e:::f\n")
    with plain_text(tmp_path / "a.dat", delimiter="::") as (plain, delimiter):
        assert (plain.read_text(), delimiter) == ("a\tb:c\td\n\te\t:f\n", "\t")


def test_line_breaks_inside_a_plain_file_stay(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'a,b\n"x\ry",1\n')
    with plain_text(tmp_path / "a.csv", delimiter=",") as (plain, _):
        assert plain == tmp_path / "a.csv"


@pytest.mark.parametrize(("cells", "values"), [
    (["1,5", "2", "-0,25", ""], [1.5, 2, -0.25, None]), (["1.234,5", "12,75", "1.234.567,0"], [1234.5, 12.75, 1234567]),
])
def test_decimal_commas_are_found_and_read(cells, values, tmp_path):
    rows = "".join(f"{cell};{k % 2}\n" for k, cell in enumerate(cells * 20))
    (tmp_path / "a.csv").write_text("price;click\n" + rows)
    found = guess_description(tmp_path / "a.csv", "d")
    assert [(one.role.value, one.decimal) for one in found.columns] == [("number", ","), ("label", ".")]
    read = numbers(read_table(tmp_path / "a.csv", found)["price"], what="")
    assert [None if one != one else one for one in read.tolist()] == values * 20


def test_commas_that_may_mark_thousands_or_a_list_are_not_taken_for_decimals(tmp_path):
    for cells in (["1,234", "5,678", "12,000"], ["1,2,3", "4,5", "6"], ["1,5", "2.5", "3,25"]):
        (tmp_path / "a.csv").write_text("price;click\n" + "".join(f"{cells[k % 3]};{k % 2}\n" for k in range(60)))
        assert guess_description(tmp_path / "a.csv", "d").columns[0].decimal == "."


def test_a_point_in_a_column_of_decimal_commas_is_refused(tmp_path):
    folder = write_data(tmp_path, text='click,age\n1,"2,5"\n0,3.45\n', columns=[
        {"name": "click", "role": "label"}, {"name": "age", "role": "number", "decimal": ","}],
        split={"kind": "random"})
    with pytest.raises(DataError, match=r"Column 'age': A number is written '3\.45'"):
        read_splits(folder)


@pytest.mark.parametrize(("cells", "seconds"), [
    (["2024-05-01T00:00:00+02:00"], 1714514400), (["2024-05-01 00:00:00+00"], 1714521600),
    (["2024-05-01 00:00:00 UTC"], 1714521600), (["2024-05-01T00:00-0530"], 1714541400),
    (["05/13/2024 00:00"], 1715558400), (["5/1/2024 1:00", "05/13/2024 0:00"], 1714525200),
    (["13/5/2024"], 1715558400), (["11/13/2019 12:05:58 PM"], 1573646758), (["31.05.2024 10:00"], 1717149600),
    (["2024-05-01T10:00:00.250Z"], 1714557600.25)])
def test_moments_in_any_zone_and_of_either_order_are_ordered_in_utc(cells, seconds):
    assert times(pl.Series(cells), what="Column 't' (time)")[0] == seconds


def test_a_day_that_may_be_a_month_is_not_guessed(tmp_path):
    with pytest.raises(DataError, match="a day above 12 tells it from the month"):
        times(pl.Series(["1/2/2024", "3/4/2024"]), what="Column 't' (time)")
    rows = "".join(f"u{k},{1 + k % 9}/2/2024,{k % 2}\n" for k in range(60))
    (tmp_path / "a.csv").write_text("user,date,click\n" + rows)
    assert guess_description(tmp_path / "a.csv", "d").columns[1].role == "ignore"


@pytest.mark.parametrize(("head", "what"), [(b"\x89PNG\r\n\x1a\n", "a picture"), (b"\xff\xd8\xff\xe0", "a picture"),
                                            (b"%PDF-1.7", "a PDF"), (b"SQLite format 3", "an SQLite database")])
def test_a_file_of_another_kind_is_told_for_what_it_is_whatever_its_name(head, what, tmp_path):
    (tmp_path / "rows.parquet").write_bytes(head + bytes(200))
    with pytest.raises(DataError, match=f"it is {what}"):
        guess_description(tmp_path / "rows.parquet", "d")
    folder = write_data(tmp_path, text=head + bytes(200), file="rows.parquet", format="parquet")
    with pytest.raises(DataError, match=f"it is {what}"):
        read_splits(folder)


def test_a_missing_format_is_named_where_the_file_is_of_another(tmp_path):
    folder = write_data(tmp_path, text='{"click": 1, "user": "a"}\n' * 30)
    with pytest.raises(DataError, match="names no format, so CSV was assumed, and by its content the file is jsonl"):
        read_splits(folder)
