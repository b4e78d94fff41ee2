"""What an upload is taken for before it is imported: which file is which split, which columns it has."""

import pytest

from compression.spec.data_description import Column, DataDescription, Label, Role
from compression.spec.errors import DataError
from compression.testing.tiny import write_tiny_data
from storage.access import LOCAL_ACCESS
from storage.store import open_store
from ui.datasets.columns_editor import edited_description, editor_rows
from ui.datasets.preview import described, examples, first_rows, guess_files, reread
from ui.server.uploads import Upload


@pytest.fixture
def store(tmp_path):
    opened = open_store(LOCAL_ACCESS, url=f"sqlite:///{tmp_path / 'home' / 'recpress.db'}", root=tmp_path / "home")
    yield opened
    opened.close()


def upload(store, name: str, data: bytes) -> Upload:
    return Upload(id="0" * 32, name=name, size=len(data), kind="data", owner="local", created=0.0,
                  digest=store.files.put_bytes(data))


def log(tmp_path) -> bytes:
    return (write_tiny_data(tmp_path / "data", rows=200) / "clicks.csv").read_bytes()


@pytest.mark.parametrize(("names", "places"), [
    (["clicks.csv"], {"all": "clicks.csv"}),
    (["a_test.csv", "a_train.csv"], {"train": "a_train.csv", "test": "a_test.csv"}),
    (["Train.parquet", "VAL.parquet", "Test.parquet"],
     {"train": "Train.parquet", "valid": "VAL.parquet", "test": "Test.parquet"}),
])
def test_files_are_recognised_as_splits_by_their_names(names, places):
    assert guess_files(names) == places


@pytest.mark.parametrize(("names", "says"), [
    (["a.csv", "b.csv"], "which is train, which is test"), (["train1.csv", "train2.csv"], "which is train"),
    (["train.csv", "valid.csv"], "need at least a train and a test")])
def test_tables_that_are_no_splits_are_asked_about(names, says):
    with pytest.raises(DataError, match=says):
        guess_files(names)


def test_a_description_beside_the_table_is_taken_as_it_is(store, tmp_path):
    folder = write_tiny_data(tmp_path / "data", rows=200)
    files = [upload(store, path.name, path.read_bytes()) for path in folder.iterdir()]
    assert described(store, files, "ignored").name == "tiny"


def test_a_description_that_names_an_absent_table_says_which(store, tmp_path):
    folder = write_tiny_data(tmp_path / "data", rows=200)
    files = [upload(store, "other.csv", b"a,b\n1,2\n"), upload(store, "data.yaml", (folder / "data.yaml").read_bytes())]
    with pytest.raises(DataError, match=r"names clicks\.csv, which was not uploaded"):
        described(store, files, "x")


def test_a_description_alone_asks_for_the_table(store):
    with pytest.raises(DataError, match="needs a table"):
        described(store, [upload(store, "data.yaml", b"name: x")], "x")


def test_the_preview_reads_the_first_rows_and_leaves_nothing_behind(store, tmp_path):
    files = [upload(store, "clicks.csv", log(tmp_path))]
    before = sorted(store.home.iterdir())
    guess = described(store, files, "clicks")
    frame = first_rows(store, files, guess)
    assert (frame.height, frame.columns[-1]) == (20, "click")
    assert set(examples(frame)["click"]) <= {"0", "1"}
    assert sorted(store.home.iterdir()) == before


def test_a_file_cut_at_another_delimiter_has_other_columns_to_correct(store):
    files = [upload(store, "a.csv", b"x;y\n1;0\n2;1\n")]
    wrong = DataDescription(name="a", files={"all": "a.csv"}, label=Label(column="x;y"),
                            columns=(Column(name="x;y", role=Role.LABEL),))
    right = wrong.model_copy(update={"delimiter": ";"})
    found = reread(right, first_rows(store, files, right).columns)
    assert [(one.name, one.role) for one in found.columns] == [("x", Role.LABEL), ("y", Role.CATEGORY)]
    assert found.label.column == "x"


def test_a_damaged_parquet_file_has_no_preview_and_no_traceback(store):
    files = [upload(store, "a.parquet", b"PAR1 and nothing more PAR1")]
    shown = DataDescription(name="a", files={"all": "a.parquet"}, format="parquet", label=Label(column="y"),
                            columns=(Column(name="y", role=Role.LABEL),))
    assert first_rows(store, files, shown).width == 0


def base() -> DataDescription:
    roles = {"y": Role.LABEL, "u": Role.USER, "tags": Role.MULTI, "t": Role.TIME}
    return DataDescription(name="a", files={"all": "a.csv"}, label=Label(column="y"),
                           columns=tuple(Column(name=name, role=role, separator="|" if name == "tags" else " ")
                                         for name, role in roles.items()))


def test_the_table_without_a_change_gives_the_same_description():
    rows = editor_rows(base(), {"u": ["a", "b", "c", "d"]})
    assert rows[1] == {"Column": "u", "Role": "user", "Separator": "", "First values": "a, b, c"}
    assert edited_description(base(), rows, at_least=1.0) == base()


def test_the_decimal_sign_is_asked_where_a_comma_may_be_one():
    rows = editor_rows(base(), {"t": ["1,5", "2"]})
    assert [row["Decimal"] for row in rows] == [".", "", "", ""]
    rows[0]["Decimal"] = ","
    assert edited_description(base(), rows, at_least=1.0).columns[0].decimal == ","


def test_the_column_made_label_is_the_label():
    rows = editor_rows(base(), {})
    rows[0]["Role"], rows[1]["Role"] = "ignore", "label"
    described = edited_description(base(), rows, at_least=3.0)
    assert (described.label.column, described.label.at_least) == ("u", 3.0)


@pytest.mark.parametrize(("roles", "says"), [
    (["ignore", "user", "multi", "time"], "exactly that column must have the role label"),
    (["label", "label", "multi", "time"], "exactly that column must have the role label"),
    (["label", "ignore", "ignore", "time"], "no column is an input")])
def test_roles_that_do_not_go_together_are_refused_in_a_sentence(roles, says):
    rows = [{**row, "Role": role} for row, role in zip(editor_rows(base(), {}), roles, strict=True)]
    with pytest.raises(DataError, match=says):
        edited_description(base(), rows, at_least=1.0)
