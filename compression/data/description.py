"""The YAML file beside a dataset: read with care, written plainly.

A description comes from a stranger as easily as a CSV does, so it is read without tags, without aliases
(a dozen of them can stand for billions of values), and every problem becomes a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from compression.data.bounds import check_columns
from compression.spec.data_description import Column, DataDescription, Role, Split
from compression.spec.errors import DataError
from compression.spec.plain_text import TextError, read_yaml
from compression.spec.task import TASKS

FILE_NAME = "data.yaml"
MAX_BYTES = 1_000_000


def load_description(path: Path) -> DataDescription:
    """The description in a YAML file; `path` is the file, or the folder that holds data.yaml.

    Raises DataError.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
    if not path.is_file():
        raise DataError(f"There is no {path.name} in {path.parent.name or '.'}. A dataset is a folder with a "
                        f"{FILE_NAME} and the files it names; write one, or upload the file on the Datasets page.")
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path.name} weighs {path.stat().st_size:,} bytes; a description has at most {MAX_BYTES:,}. "
                        "Give the YAML description here, not the data itself.")
    try:
        content = read_yaml(path.read_bytes(), max_chars=MAX_BYTES)
    except TextError as error:
        raise DataError(f"{path.name} can't be read: {error}. Correct it; README.md has an example.") from None
    if not isinstance(content, Mapping):
        got = "nothing" if content is None else f"a {type(content).__name__}"
        raise DataError(f"{path.name} must be a YAML mapping (name:, files:, label:, columns: …); got {got}.")
    return make_description(content, where=path.name)


def folder_of(path: Path) -> Path:
    """Where the files that a description names are looked for: `path` is the folder, or a description in it."""
    path = Path(path)
    return path.parent if path.is_file() else path


def make_description(content: Mapping[str, Any], *, where: str = FILE_NAME) -> DataDescription:
    """Plain data (from YAML, JSON or a form) as a checked DataDescription.

    Raises DataError: unknown or missing keys, unknown roles, bounds broken, columns named twice,
    a label that isn't among the columns, a path that leaves the folder.
    """
    try:
        description = DataDescription.model_validate(content)
    except ValidationError as error:
        problems = [_sentence(item) for item in error.errors(include_url=False, include_context=True)]
        more = f" And {len(problems) - 5} more." if len(problems) > 5 else ""
        raise DataError(f"{where}: {' '.join(problems[:5])}{more}") from None
    check_description(description, where=where)
    return description


def check_description(description: DataDescription, *, where: str = FILE_NAME) -> None:
    """Raise DataError unless the description agrees with itself; looks at no file."""
    names = [column.name for column in description.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{where}: columns must have different names; named more than once: {_quoted(twice)}. "
                        "Rename or remove the repeats.")
    label = description.label.column
    roles = {column.name: column.role for column in description.columns}
    labels = [column.name for column in description.by_role(Role.LABEL)]
    if not labels and not label:
        raise DataError(f"{where}: no column has the role label. Give it to the column that says what happened: 1 and "
                        "0, or a rating. Where every row is a positive, such as a purchase, set negatives to draw the "
                        "others.")
    if roles.get(label) is not Role.LABEL or labels != [label]:
        raise DataError(f"{where}: label.column is '{label}', so exactly that column must have the role label; "
                        f"columns with the role label: {_quoted(labels) or 'none'}. Give '{label}' the role label "
                        "and others another role, or name another label column.")
    for role, limit in ((Role.USER, 1), (Role.TIME, 1), (Role.WEIGHT, 1)):
        found = [column.name for column in description.by_role(role)]
        if len(found) > limit:
            raise DataError(f"{where}: at most {limit} column may have the role {role}; got {_quoted(found)}. "
                            "Give the others the role category or ignore.")
    task = TASKS[description.task]
    if task.unit == "user" and not description.by_role(Role.USER):
        raise DataError(f"{where}: the task {task.key} ({task.title}) is measured user by user, and no column has the "
                        "role user. Give it to the column that says whose row it is.")
    check_columns(description.columns, where=where)
    _check_made(description, where)
    _check_files(description, where)
    _check_split(description.split, description, where)


def dump_description(description: DataDescription, *, unset_left_out: bool = False) -> str:
    """The description as YAML text that `load_description` reads back to an equal record.

    `unset_left_out`: what was left to the task is not written, so that it follows when the task is changed.
    """
    content = description.model_dump(mode="json", exclude_none=True)
    content["columns"] = [_plain_column(column) for column in description.columns]
    for key in ("terms", "companions"):
        if not content[key]:
            del content[key]
    if unset_left_out:
        for key in ("split", "label"):
            content[key] = getattr(description, key).model_dump(mode="json", exclude_unset=True)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)


def file_path(folder: Path, name: str) -> Path:
    """The path of a file the description names. Raises DataError if it is absent or lies outside the folder."""
    path = folder / name
    try:
        inside, present = path.resolve().is_relative_to(folder.resolve()), path.is_file()
    except (OSError, RuntimeError, ValueError):  # a name too long, links in a circle, a NUL
        inside = present = False
    if not inside:
        raise DataError(f"'{name}' in {FILE_NAME} leaves the dataset's folder. Files are named relative to "
                        f"{FILE_NAME} and lie beside or below it; copy the file there.")
    if not present:
        there = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and entry.name != FILE_NAME)
        raise DataError(f"'{name}', named in {FILE_NAME}, is not in the dataset's folder; it has: "
                        f"{_quoted(there[:10]) or 'no other file'}. Correct the name or add the file.")
    return path


def _check_made(description: DataDescription, where: str) -> None:
    """What is made from a log needs its user, item and time, and a split in which the past comes first."""
    made = [what for what, given in (("history", description.history), ("negatives", description.negatives)) if given]
    for what in made:
        for role in (Role.USER, Role.ITEM, Role.TIME)[:3 if what == "history" else 2]:
            if not description.by_role(role):
                raise DataError(f"{where}: {what} is made from a log of user and item"
                                f"{' and time' * (what == 'history')}, and no column has the role {role}. Give it to "
                                f"one, or leave {what} out.")
    if not description.history:
        return
    name = description.history.column
    if Role.MULTI not in [column.role for column in description.columns if column.name == name]:
        raise DataError(f"{where}: history.column is '{name}', which is made for each row, so '{name}' must stand "
                        "among the columns with the role multi. Add it there, or leave history out.")
    if description.split.kind == "random" and "all" in description.files:
        raise DataError(f"{where}: with history, split.kind random would put what test rows hold into histories of "
                        "train rows. Choose time, user_time, leave_one_out or user.")


def _check_files(description: DataDescription, where: str) -> None:
    """Either {all} or {train, test} or {train, valid, test}, each a relative path that stays inside."""
    keys = set(description.files)
    if keys not in ({"all"}, {"test"}, {"train", "test"}, {"train", "valid", "test"}):
        raise DataError(f"{where}: files must name 'all', or 'train' and 'test', or 'train', 'valid' and 'test', or "
                        f"'test' alone; "
                        f"got {_quoted(sorted(keys)) or 'none'}. With one file, name it 'all' and choose a split.")
    strangers = sorted(set(description.companions) - set(description.files.values()))
    if strangers:
        raise DataError(f"{where}: companions names the file '{strangers[0]}', which is none of files. A companion "
                        "belongs to one of the files.")
    if description.unjudged:
        raise DataError(f"{where}: {description.unjudged[0]} is a run of TREC: the documents that a system ranked for "
                        "each query. It says of none whether it is relevant. Add the judgements (qrels) of these "
                        "queries as its companion: upload both files together, or give them to describe with "
                        "--companion.")
    for name in description.file_names:
        parts = name.replace("\\", "/").split("/")
        if not name.strip() or name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name:
            raise DataError(f"{where}: the file '{name}' leaves the dataset's folder. Files are named relative to "
                            f"{FILE_NAME}, without '..' and without a leading '/'; copy the file there.")
    if len(set(description.files.values())) < len(description.files):
        raise DataError(f"{where}: two splits name the same file. Each split needs its own; "
                        "with one file, name it 'all' and choose a split.")


def _check_split(split: Split, description: DataDescription, where: str) -> None:
    one_file = "all" in description.files
    if split.kind == "given" and one_file:
        raise DataError(f"{where}: split.kind is given, but there is one file for all rows. "
                        "Choose time, user_time, leave_one_out, random or user, or name the files train, valid "
                        "and test.")
    if split.valid + split.test > 0.7:
        raise DataError(f"{where}: split.valid + split.test must leave at least 0.3 of the rows for train; "
                        f"got {split.valid:g} + {split.test:g}. Make one of them smaller.")
    for kind, role in (("time", Role.TIME), ("user", Role.USER), ("user_time", Role.TIME), ("user_time", Role.USER),
                       ("leave_one_out", Role.TIME), ("leave_one_out", Role.USER)):
        if one_file and split.kind == kind and not description.by_role(role):
            raise DataError(f"{where}: split.kind is {kind}, but no column has the role {role}. "
                            f"Give a column the role {role}, or choose split.kind random.")


def _plain_column(column: Column) -> dict[str, str]:
    plain = {"name": column.name, "role": str(column.role)}
    if column.decimal != ".":
        plain["decimal"] = column.decimal
    return plain | {"separator": column.separator} if column.role is Role.MULTI else plain


def _sentence(item: Mapping[str, Any]) -> str:
    """One pydantic problem as a sentence with the place, what was got and what is allowed."""
    place = ".".join(str(part) for part in item["loc"] if part != "[key]")
    if item["type"] == "extra_forbidden":
        *parents, key = item["loc"]
        allowed = {0: DataDescription, 1: None}.get(len(parents))
        known = f"; known keys: {', '.join(allowed.model_fields)}" if allowed else ""
        return f"The key '{'.'.join(map(str, (*parents, key)))}' is unknown{known}. Remove or correct it."
    if item["type"] == "missing":
        return f"'{place}' is missing. Add it."
    got = item.get("input")
    shown = repr(got)[:60] if isinstance(got, str | int | float | bool | None) else f"a {type(got).__name__}"
    context = item.get("ctx") or {}
    if "expected" in context:
        return f"'{place}' must be one of {context['expected']}; got {shown}."
    return f"'{place}': {item['msg'][0].lower()}{item['msg'][1:]}; got {shown}."


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
