"""Every metric the app shows: unit, direction, bounds, format and source, declared once."""

from __future__ import annotations

from typing import Literal

from compression.spec.records import Record

PARITY_LIMIT = 5e-3  # of a score: an export that differs by more is refused


class MetricSpec(Record):
    """How a metric is named, read and compared.

    `group` is quality, size or latency; `kind` says how a human reads the unit: a score, bytes,
    milliseconds, rows per second, a count or a ratio. `same_within`: two values whose ratio is no further from 1 are
    called the same. `blind`: what scores reach that know nothing of the rows; None where it depends on the rows.
    `scientific`: written as 1.0e-05.
    """

    key: str
    title: str
    unit: str
    group: Literal["quality", "size", "latency"]
    kind: Literal["score", "bytes", "ms", "rate", "count", "ratio"]
    higher_is_better: bool
    lower: float | None
    upper: float | None
    help: str  # one line, shown on hover
    source: str = ""
    same_within: float = 0.0
    blind: float | None = None
    scientific: bool = False

    def better(self, value: float, than: float) -> bool:
        return value > than if self.higher_is_better else value < than


def _specs() -> tuple[MetricSpec, ...]:
    def quality(key: str, title: str, higher: bool, upper: float | None, help: str, source: str,
                blind: float | None = None) -> MetricSpec:
        return MetricSpec(
            key=key,
            title=title,
            unit="",
            group="quality",
            kind="score",
            higher_is_better=higher,
            lower=0.0,
            upper=upper,
            help=help,
            source=source,
            blind=blind,
        )

    def size(key: str, title: str, kind: Literal["bytes", "count"], help: str,
             same_within: float = 0.005) -> MetricSpec:
        return MetricSpec(
            key=key,
            title=title,
            unit="B" if kind == "bytes" else "",
            group="size",
            kind=kind,
            higher_is_better=False,
            lower=0.0,
            upper=None,
            help=help,
            same_within=same_within,
        )

    def latency(key: str, title: str, unit: str, kind: Literal["ms", "rate", "ratio"], help: str) -> MetricSpec:
        return MetricSpec(
            key=key,
            title=title,
            unit=unit,
            group="latency",
            kind=kind,
            higher_is_better=kind == "rate",
            lower=0.0,
            upper=None,
            help=help,
            same_within=0.03,  # the same file against itself gives 0.97 to 1.03
        )

    def parity(key: str, title: str, help: str) -> MetricSpec:
        return MetricSpec(
            key=key,
            title=title,
            unit="",
            group="quality",
            kind="score",
            higher_is_better=False,
            lower=0.0,
            upper=None,
            scientific=True,
            help=help,
        )

    return (
        quality(
            "auc",
            "AUC",
            True,
            1.0,
            "Chance that a random positive row scores above a random negative one. "
            "A change of 0.001 matters in click prediction.",
            "Fawcett 2006, ties count one half",
            blind=0.5,
        ),
        quality(
            "logloss",
            "Log loss",
            False,
            None,
            "Mean of −log p of what happened; punishes confident mistakes.",
            "scikit-learn log_loss, natural logarithm",
        ),
        quality(
            "gauc",
            "GAUC",
            True,
            1.0,
            "AUC within each user, averaged by the user's rows; users with one class only are left out.",
            "Zhu et al. 2017, arXiv:1706.06978",
            blind=0.5,
        ),
        quality(
            "hit_rate_10",
            "HR@10",
            True,
            1.0,
            "Share of users with a positive among the ten best of their test rows (sure for ten rows or fewer); "
            "equal scores in random order. Users whose rows are of one class are left out.",
            "He et al. 2017, arXiv:1708.05031",
        ),
        quality(
            "ndcg_10",
            "NDCG@10",
            True,
            1.0,
            "How near the positives are to the top ten of each user's test rows, 1 is the best order; equal scores "
            "in random order. Users whose rows are of one class are left out.",
            "Järvelin & Kekäläinen 2002, gain 2^rel − 1; ties as in McSherry & Najork 2008",
        ),
        quality(
            "calibration_error",
            "Calibration error",
            False,
            1.0,
            "Mean gap between predicted and observed rate over 20 groups of equal size. Shown without an interval: the "
            "noise of the groups adds to the value.",
            "Naeini et al. 2015 (ECE, equal-mass bins)",
        ),
        size(
            "size_bytes",
            "Size on disk",
            "bytes",
            "What the exported file weighs, with every index, scale and codebook in it.",
        ),
        size(
            "download_bytes",
            "Download size",
            "bytes",
            "The exported file packed by zlib (level 6), as it travels or lies in a store: codes and zeros that repeat "
            "cost less. Loading unpacks it, so memory and time are those of the whole file. Not taken above 268 MB.",
        ),
        size(
            "bundle_bytes",
            "Bundle size",
            "bytes",
            "What serving needs, unpacked: the exported file, signature.json, vocabularies.json, and predict.py "
            "with the two files it imports. The recipe, numbers, card and checksums don't count, nor do Python and the "
            "runtime.",
        ),
        size(
            "resident_bytes",
            "Memory after load",
            "bytes",
            "Memory the runtime holds once the exported file is loaded and has answered once.",
            same_within=0.05,
        ),
        size("parameters", "Parameters", "count", "Weights stored in the exported file, whatever their width."),
        size("nonzeros", "Non-zero parameters", "count", "Weights that are not zero. Zeros alone save no bytes."),
        latency(
            "latency_p50_ms",
            "Latency p50",
            "ms",
            "ms",
            "Half of the requests, drawn from the test rows, are answered within this time. The interval is that of "
            "six fresh processes.",
        ),
        latency("latency_p95_ms", "Latency p95", "ms", "ms", "95 of 100 requests are answered within this time."),
        latency("throughput", "Throughput", "rows/s", "rate", "Rows scored in a second at this batch size."),
        latency(
            "latency_ratio",
            "Latency ratio",
            "×",
            "ratio",
            "Time of this file over time of the baseline, below 1 is faster. Both answer the same requests, drawn from "
            "the test rows, in pairs of random order; each of six rounds is a fresh process that opens both files, "
            "and the interval is that of the rounds.",
        ),
        parity(
            "parity_error",
            "Parity error",
            "Largest difference of a score between torch and the exported file, run on the target's device, over "
            "the checked rows.",
        ),
        parity(
            "layer_parity_error",
            "Parity error of layers alone",
            "Taken where scores differ by more than rounding explains at once: through many layers in 8 bits, one "
            "rounding step grows. Each of these layers was then compared alone, on the input it had in the exported "
            "file, and what lies between them likewise. The largest difference of a layer's output, as a share of its "
            "range.",
        ),
    )


METRICS: dict[str, MetricSpec] = {spec.key: spec for spec in _specs()}
