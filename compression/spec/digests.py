"""Which values of a record its digest covers, so that a field added later renames nothing that is stored.

    runtime: Annotated[RuntimeKey, LATER] = "onnxruntime"

A digest covers every field that a record had when digests were first stored, at its default or not. A field that came
later is marked LATER and counts only where it differs from its default, which stands for what was done before there
was such a field. So the default of a field marked LATER never changes. docs/decisions/074 has the reasons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True)
class _Later:
    """The mark of a field that came after digests of its record were stored."""


LATER = _Later()


def digested(record: BaseModel) -> dict[str, Any]:
    """The values that the digest of a record covers, as JSON has them."""
    plain = record.model_dump(mode="json")
    for name, field in type(record).model_fields.items():
        if LATER in field.metadata and getattr(record, name) == field.get_default(call_default_factory=True):
            del plain[name]
    return plain
