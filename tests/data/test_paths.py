"""A folder may have any name: what a library would take for a pattern is read as it stands."""

import json

import polars as pl
import pytest

from compression.data.description import load_description
from compression.data.guess import guess_description
from compression.data.ingest import read_table
from tests.data.write import COLUMNS, click_rows, write_data

NAMES = [column["name"] for column in COLUMNS]
ROWS = click_rows()


@pytest.mark.parametrize("folder", ["h [x]*", "a?b", "a%20b", "x=1"])
@pytest.mark.parametrize("format", ["csv", "parquet", "jsonl"])
def test_a_table_is_read_whatever_the_name_of_its_folder(tmp_path, folder, format):
    place, file = tmp_path / folder, f"clicks.{format}"
    place.mkdir()
    write_data(place, ROWS, file=file, format=format)
    frame = pl.DataFrame(ROWS, schema=NAMES, orient="row")
    if format == "parquet":
        with (place / file).open("wb") as out:
            frame.write_parquet(out)
    elif format == "jsonl":
        (place / file).write_text("".join(json.dumps(row) + "\n" for row in frame.to_dicts()))
    table = read_table(place / file, load_description(place))
    assert table["user"].cast(pl.String).to_list() == [row[1] for row in ROWS]
    assert guess_description(place / file, "clicks").format == format
