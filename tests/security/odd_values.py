"""Values that no page and no route expects, and every parameter that an address of the app has."""

from __future__ import annotations

from dataclasses import fields

from ui.compare.state import View
from ui.experiment.form import ADDRESS

ODD = {
    "empty": "", "forty nines": "9" * 40, "5,000 nines": "9" * 5000, "beyond 64 bits": str(2**63), "minus one": "-1",
    "a fraction": "1.5", "NaN": "NaN", "1e400": "1e400", "NUL": "a\x00b", "brackets": "[" * 4000,
    "deep JSON": '{"a":' * 2000, "markup": "<img src=x>", "a path": "../../etc/passwd", "superscript": "²",
    "many": "3," * 2000, "nines": ",".join(["9" * 40] * 3),
}
PARAMETERS = {
    "models": ("id", "add", "job", "model", "data"), "datasets": ("id", "add", "job"),
    "experiment": ADDRESS, "runs": ("state", "kind", "model", "q", "page"), "run": ("id",),
    "compare": ("c", *(field.name for field in fields(View))),
    "methods": ("method",),
}
BESIDE = {("models", "model"): {"add": "upload"}, ("models", "data"): {"add": "train"}}  # what makes a page read it
