"""Adding a dataset: upload, look at the guess, correct it, queue the import."""

from __future__ import annotations

import re
from typing import Any

import streamlit as st

from compression.data.formats import FORMATS
from compression.data.propose import notes_on
from compression.data.text_file import NotUtf8
from compression.spec.data_description import DataDescription
from compression.spec.errors import RecPressError
from compression.spec.records import ImportDataSpec
from jobs.submit import submit
from storage.store import Store
from ui.datasets import preview
from ui.datasets.columns_editor import draw_columns, draw_label_and_split, edited_description
from ui.datasets.made import draw_made
from ui.server.uploads import TABLES, Upload
from ui.shared.escape import escaped
from ui.shared.format import human_bytes, plural
from ui.shared.shell import draw_back, page_title
from ui.shared.state import open_page
from ui.shared.table import draw_dataframe
from ui.shared.uploader import clear_uploader, uploader

UPLOAD = "datasets.upload"
ENCODINGS = {"cp1252": "Windows-1252: Western European, Excel", "latin-1": "Latin-1 (ISO 8859-1)",
             "utf-16": "UTF-16: Excel’s Unicode text", "cp1250": "Windows-1250: Central European",
             "cp1251": "Windows-1251: Cyrillic", "gb18030": "GB 18030: Chinese", "big5": "Big5: Chinese, traditional",
             "shift_jis": "Shift JIS: Japanese", "euc_kr": "EUC-KR: Korean"}
DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar", " ": "space"}


def draw_upload(store: Store) -> None:
    """Files, then their guessed description to be corrected, then the import."""
    draw_back("All datasets", "datasets")
    page_title("Add a dataset", "One table that RecPress splits, or tables for train, valid and test.")
    files = uploader("Data files", kind="data", key=UPLOAD)
    if not files:
        st.caption("CSV, TSV, Parquet, JSON (lines or an array), libsvm, libFM or libffm (with .query sizes), TREC "
                   "judgements and runs, or lists of users and items; packed with gzip or zstd, or not. Files of "
                   "MovieLens, Criteo, Avazu, Amazon, Steam, MIND, RecBole and NCF are "
                   "recognised. A data.yaml beside them is taken as the description.")
        return
    told = preview.collection_words(store, files)
    if told:
        st.info(escaped(told))
        return
    key = f"{UPLOAD}.{'.'.join(sorted(one.digest[:8] for one in files))}"
    encoding = st.session_state.get(f"{key}.encoding")
    try:
        guess = _guess(store, files, key, encoding)
    except RecPressError as error:
        st.error(escaped(error))
        if isinstance(error, NotUtf8) or encoding:
            _draw_encoding(key)
        return
    if guess.encoding:
        _draw_encoding(key, guess.encoding)
    guess = _draw_reading(guess, key)
    guess, made_key = draw_made(guess, key=key)
    for note in notes_on(guess):
        st.markdown(f"- {escaped(note)}")
    _draw_review(store, files, guess, f"{key}{made_key}")


def _guess(store: Store, files: list[Upload], key: str, encoding: str | None) -> DataDescription:
    """The description of these files, worked out once for a session and an encoding."""
    kept = f"{key}.guess.{encoding}"
    if kept not in st.session_state:
        tables = [one.name for one in files if one.name.lower().endswith(TABLES)] or [files[0].name]
        st.session_state[kept] = preview.described(store, files, suggested_name(tables), encoding)
    return st.session_state[kept]


def _draw_encoding(key: str, encoding: str | None = None) -> None:
    """In which encoding the text is: no byte of it says so, a person does."""
    options = list(ENCODINGS)
    st.selectbox("Encoding of the text", options, index=options.index(encoding) if encoding in options else None,
                 key=f"{key}.encoding", format_func=lambda one: ENCODINGS[one], width=520,
                 placeholder="Choose the encoding it was written in",
                 help="Look at names with accents in the first rows: only in the right encoding are they whole.")


def suggested_name(tables: list[str]) -> str:
    """What the tables' names begin with together, up to a mark: "criteo" of criteo_train.tsv and criteo_test.tsv."""
    ends = [word.end() for word in re.finditer(r"[a-zA-Z0-9]+", tables[0])] if len(tables) > 1 else []
    shared = [end for end in ends
              if all(re.match(re.escape(tables[0][:end]) + r"(?![a-zA-Z0-9])", name) for name in tables)]
    if shared:
        return tables[0][:shared[-1]]
    return tables[0].rsplit(".", 1)[0]


def _draw_reading(guess: DataDescription, key: str) -> DataDescription:
    """How the file is cut into cells, folded away with what was found on the fold."""
    if not guess.is_text_table:
        if guess.format in FORMATS:
            st.caption(f"Read as {FORMATS[guess.format].title}.")
        return guess
    delimiter = guess.delimiter or ("\t" if guess.format == "tsv" else ",")
    header = "first line names the columns" if guess.header else "no header"
    with st.expander(f"Read as {guess.format.upper()}: {delimiter_words(delimiter)} between cells, {header}"):
        options = [*DELIMITERS] if delimiter in DELIMITERS else [delimiter, *DELIMITERS]
        chosen = st.segmented_control("Between cells", options, default=delimiter, required=True,
                                      key=f"{key}.delimiter", format_func=delimiter_words)
        has_header = st.toggle("The first line names the columns", value=guess.header, key=f"{key}.header")
    return guess.model_copy(update={"delimiter": chosen, "header": has_header})


def delimiter_words(delimiter: str) -> str:
    """A delimiter in words, another as it is."""
    return DELIMITERS.get(delimiter) or escaped(delimiter)


def _draw_review(store: Store, files: list[Upload], guess: DataDescription, key: str) -> None:
    frame = preview.first_rows(store, files, guess)
    guess = preview.reread(guess, frame.columns)
    key = f"{key}.{guess.delimiter}.{guess.header}"  # another reading has other columns, and its own table
    st.header("Columns", anchor=False)
    rows = draw_columns(guess, preview.examples(frame), key=key)
    st.header("Label and split", anchor=False)
    chosen = draw_label_and_split(guess, key=key)
    if frame.width:
        with st.expander(f"First {plural(frame.height, 'row')} of {escaped(next(iter(guess.files.values())))}, "
                         f"{human_bytes(sum(one.size for one in files))} in all"):
            draw_dataframe(frame.to_dicts(), hide_index=True)
    name = st.text_input("Name", value=guess.name, key=f"{key}.name", max_chars=200, width=520)
    description, problem = _checked(guess, rows, name, chosen)
    if problem:
        st.error(escaped(problem))
    if st.button("Save the dataset", type="primary", disabled=description is None,
                 help="Every row is checked in a job of its own; problems are named with row and column."):
        _queue(store, files, description)


def _checked(guess: DataDescription, rows: list[dict], name: str,
             chosen: dict[str, Any]) -> tuple[DataDescription | None, str]:
    """The description as corrected, or what is wrong with it."""
    if not name.strip():
        return None, "The dataset needs a name."
    try:
        return edited_description(guess, rows, name=name.strip(), **chosen), ""
    except RecPressError as error:
        return None, str(error)


def _queue(store: Store, files: list[Upload], description: DataDescription) -> None:
    named = set(description.file_names)
    spec = ImportDataSpec(files={one.name: one.digest for one in files if one.name in named}, name=description.name,
                          description=description.model_dump(mode="json"))
    try:
        job = submit(store, spec, name=f"Import {description.name}")
    except RecPressError as error:
        st.error(escaped(error))
        return
    clear_uploader(UPLOAD)
    open_page("datasets", job=job)
