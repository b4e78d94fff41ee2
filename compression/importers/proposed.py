"""The binding that a page proposes, for callers without a page: what is unsure stays open, and the import says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compression.data.description import load_description
from compression.data.summary import summarise
from compression.importers.beside import signature_beside, with_vocabularies
from compression.importers.binding.checks import checks
from compression.importers.binding.table import binding_of, propose_lines
from compression.importers.binding.vocabularies import prepare
from compression.importers.kept import LOOKS, KeptLook
from compression.importers.sandbox.process import look_in_sandbox, open_in_sandbox
from compression.spec.errors import ModelError


def proposed_binding(files: dict[str, Path], data_folder: Path, scratch: Path
                     ) -> tuple[dict[str, Path], dict[str, Any]]:
    """(files to import, binding) of a graph, its inputs bound to the columns of the dataset as a page proposes them.

    What a binding or signature beside the graph says stays; inputs that it binds are proposed nothing else. Files that
    aren't a graph are left as they are. Raises ModelError.
    """
    said = signature_beside(files)
    if said.get("inputs"):
        return files, said
    kept = KeptLook.of(scratch / LOOKS, {name: str(path) for name, path in files.items()})
    look = look_in_sandbox(files, kept=kept)
    if look.title != "graph" or not look.inputs:
        return files, {}
    files = open_in_sandbox(files, scratch / "opened", kept)
    description, summary = load_description(data_folder), summarise(data_folder)
    lines = propose_lines(look, description, summary)
    if look.lacks_bundle and (wrong := [one.text for one in checks(lines, look, description, summary)
                                        if not one.passed]):
        raise ModelError(wrong[0])
    binding, built = prepare(binding_of(lines), files, data_folder)
    return with_vocabularies(files, built, scratch), binding | said


def proposed_words(binding: dict[str, Any]) -> str:
    """Which column each input was bound to, and where its ids come from, in a sentence."""
    said = []
    for name, choice in binding["inputs"].items():
        columns = " and ".join(f"'{column}'" for column in choice.get("columns") or [choice.get("column")])
        how = choice.get("reads") or ("as it is" if choice.get("ids") == "as-is" else "")
        said.append(f"{name} reads {columns}{f' ({how})' if how else ''}")
    return f"Proposed: {', '.join(said)}."
