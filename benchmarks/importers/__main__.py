"""Ten architectures × four formats: exported by torch, imported, a step of each family, fine-tuned, exported again.

    python -m benchmarks.importers            # writes docs/results/importers.md
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.importers.architectures import ARCHITECTURES, Foreign
from benchmarks.importers.formats import FORMATS, write
from benchmarks.report import table
from benchmarks.report import write as write_result
from compression.data.dataset import Dataset, Rows
from compression.export.onnx import export_onnx
from compression.importers.onnx.reader import trial_inputs
from compression.importers.reader import read_upload
from compression.models.files import load_model
from compression.models.folder import LoadedModel
from compression.models.structure import table_inputs
from compression.spec.data_description import Column, DataDescription, Label, Role
from compression.spec.errors import RecPressError
from compression.spec.method import Context
from compression.spec.recipe import fine_tune_step, parse_step
from compression.spec.records import Step, Target
from compression.spec.runtime import RUNTIMES

IMPORT_TOLERANCE, EXPORT_TOLERANCE = 1e-5, 1e-4
ROWS = 400
FAMILIES = {
    "embed": ("embed.quantize_rows", {"n_bits": 8}),
    "factorize": ("factorize.svd", {"rank_ratio": 0.5, "weights": "dense"}),
    "prune": ("prune.magnitude", {"sparsity": 0.3}),
    "quantize": ("quantize.dynamic", {"min_features": 4}),
}


def main() -> None:
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    rows = []
    for foreign in ARCHITECTURES:
        cells = [foreign.title]
        for form in FORMATS:
            with tempfile.TemporaryDirectory() as folder:
                cells.append(tried(foreign, form, Path(folder)))
            print(foreign.title, form, cells[-1], flush=True)
        rows.append(cells)
    families = ", ".join(f"`{key}`" for key, _ in FAMILIES.values())
    body = (f"Each cell: the largest difference of the imported model's logits from torch's, then of the scores of the "
            f"files exported after a step of each family ({families}) from the module that was written. After low rank "
            f"and pruning one epoch of fine-tuning on made-up rows comes before the export. Passed means at most "
            f"{IMPORT_TOLERANCE:g} at import and {EXPORT_TOLERANCE:g} at export; for `quantize`, whose integers may "
            f"round a tie the other way, 1e-2.\n\n" + table(["architecture", *FORMATS], rows))
    write_result("importers", "Ten architectures through four formats", body, command="python -m benchmarks.importers")


def tried(foreign: Foreign, form: str, folder: Path) -> str:
    """What a cell of the matrix says: passed with the differences, or why not."""
    torch.manual_seed(0)
    model = foreign.make().eval()
    try:
        files = write(model, foreign, form, folder / "upload")
    except Exception as error:  # torch's exporters raise whatever they meet
        return f"torch can't write it: {_short(error)}"
    binding = {"answers": foreign.answers} if form == "state dict" else dict(foreign.binding)
    try:
        description = read_upload(files, folder / "imported", binding=binding or None)
    except RecPressError as error:
        return f"refused: {_short(error)}"
    loaded = load_model(folder / "imported")
    if loaded.module is None:
        return f"measured as it is: {_short(description.notes[0])}"
    with torch.no_grad():
        apart = float((loaded.module(_as_read(loaded, foreign)) - model(*foreign.inputs.values())).abs().max())
    if apart > IMPORT_TOLERANCE:
        return f"differs by {apart:.1e} at import"
    return f"passed: {apart:.0e}" + _families(loaded, folder)


def _as_read(loaded: LoadedModel, foreign: Foreign) -> dict[str, torch.Tensor]:
    """The example's rows by the imported model's inputs: weights alone give an input a column, whatever was wide."""
    rows = dict(foreign.inputs)
    for name, choice in foreign.binding.get("inputs", {}).items():
        rows |= {column: foreign.inputs[name][:, place] for place, column in enumerate(choice.get("columns", ()))}
    return {item.name: rows[item.name] for item in loaded.signature.inputs}


def _families(loaded: LoadedModel, folder: Path) -> str:
    dataset = made_up(loaded)
    worst, left_out = 0.0, []
    for family, (key, params) in FAMILIES.items():
        steps = [Step(method=key, params=params), fine_tune_step(epochs=1, batch_size=128)]
        model, changed = loaded.module, 0
        for place, step in enumerate(steps if family in ("factorize", "prune") else steps[:1]):
            method, parsed = parse_step(step)
            counts = {path: dataset.frequencies(item) for path, item in table_inputs(model).items()}
            applied = method(model, parsed, Context(step=place, method=step.method, dataset=dataset, frequencies=counts,
                                                    signature=loaded.signature, teacher=loaded.module))
            model, changed = applied.model.eval(), changed + (len(applied.changes) if place == 0 else 0)
        if not changed:
            left_out.append(family)
            continue
        exported = export_onnx(model, loaded.signature, folder / family / "model.onnx")
        inputs = trial_inputs(loaded.signature, 16, np.random.default_rng(1))
        with torch.no_grad():
            ours = torch.sigmoid(model({name: torch.from_numpy(value) for name, value in inputs.items()})).numpy()
        target = Target()
        session = RUNTIMES[target.runtime].open(exported.path, **target.session)
        apart = float(np.abs(session.score(inputs) - ours).max())
        if apart > (1e-2 if family == "quantize" else EXPORT_TOLERANCE):
            return f"; {family} differs by {apart:.1e} at export"
        worst = max(worst, apart) if family != "quantize" else worst
    return f"; {worst:.0e}" + (f"; nothing to change for {', '.join(left_out)}" if left_out else "")


def made_up(loaded: LoadedModel) -> Dataset:
    """Rows inside every table, with random labels: enough to train on."""
    draw = np.random.default_rng(0)

    def rows() -> Rows:
        return Rows(trial_inputs(loaded.signature, ROWS, draw), (draw.random(ROWS) < 0.4).astype(np.float32), None)

    columns = (Column(name="label", role=Role.LABEL), Column(name="user", role=Role.USER))
    description = DataDescription(name="made up", files={"all": "none.csv"}, columns=columns,
                                  label=Label(column="label"))
    return Dataset(description, loaded.signature, {}, {split: rows() for split in ("train", "valid", "test")})


def _short(error: object) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else text[:159] + "…"


if __name__ == "__main__":
    main()
