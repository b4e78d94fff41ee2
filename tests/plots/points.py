"""Fabricated runs for the tests of plots: numbers chosen so that the right answer is known."""

from dataclasses import dataclass, field

from compression.spec.values import Value


@dataclass(frozen=True)
class FakePoint:
    job_id: int
    name: str
    families: str
    values: dict = field(default_factory=dict)


def run(job_id, size=None, auc=None, ms=None, *, families="embed", half=0.0004, base_auc=0.8, ratio=None):
    """A run beside a baseline of 100 MB, AUC 0.8 and 10 ms at batch 512."""
    values = {}
    if size is not None:
        values["size_bytes"] = Value(size * 1e6, baseline=100e6)
    if auc is not None:
        difference = auc - base_auc
        values["auc"] = Value(auc, auc - 0.005, auc + 0.005, difference, difference - half, difference + half, base_auc)
    if ms is not None:
        values["latency_p50_ms@512"] = Value(ms, baseline=10.0)
        values["latency_ratio@512"] = Value(ratio if ratio is not None else ms / 10)
    return FakePoint(job_id, f"run {job_id}", families, values)
