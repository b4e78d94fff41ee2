"""Numbers as people read them: 12.4 MB, 0.183 ms, 41k rows/s, and differences with a sign and a word.

Decimal units (1 MB = 1,000,000 bytes), as disks and file managers have them.
"""

from __future__ import annotations

from functools import lru_cache

from compression.spec.metrics import METRICS, MetricSpec
from compression.spec.names import within
from compression.spec.records import Target
from compression.spec.runtime import DEFAULT_RUNTIME, RUNTIMES

MISSING = "—"


@lru_cache(maxsize=4096)
def split_key(key: str) -> tuple[str, int | None]:
    """A metric key as the store has it: "latency_ratio@512" → ("latency_ratio", 512)."""
    metric, _, batch = key.partition("@")
    return metric, int(batch) if batch else None


def metric_of(key: str) -> MetricSpec:
    return METRICS[split_key(key)[0]]


def metric_title(key: str) -> str:
    """"Latency p50, batch 512"."""
    metric, batch = split_key(key)
    return METRICS[metric].title + (f", batch {batch:,}" if batch else "")


def title_within(key: str) -> str:
    """The title inside a sentence: "log loss"; AUC stays AUC."""
    return within(metric_title(key))


def axis_title(key: str) -> str:
    """Title, unit and direction: "Latency p50, batch 512 (ms) · lower is better"."""
    spec = metric_of(key)
    unit = {"bytes": "", "count": "", "score": ""}.get(spec.kind, f" ({spec.unit})")
    return f"{metric_title(key)}{unit} · {'higher' if spec.higher_is_better else 'lower'} is better"


def target_words(target: Target) -> list[str]:
    """What a target is, without its batch sizes: ["CPU, 2 threads", "graph optimisation basic", "ONNX Runtime"].

    The last two stand only where they aren't what every target starts with.
    """
    told = [f"{target.device.upper()}, {target.threads} thread{'s' * (target.threads > 1)}"]
    if target.graph_optimization != "all":
        told.append(f"graph optimisation {target.graph_optimization}")
    if target.runtime != DEFAULT_RUNTIME:
        told.append(RUNTIMES[target.runtime].title if target.runtime in RUNTIMES else target.runtime)
    return told


def human_bytes(size: float) -> str:
    """12,412,345 → "12.4 MB"; exact below a kilobyte."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(size) >= scale:
            return f"{_three_digits(size / scale)} {unit}"
    return f"{size:,.0f} B"


def human_count(count: float) -> str:
    """1,234,567 → "1.23M"."""
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(count) >= scale:
            return f"{_three_digits(count / scale)}{unit}"
    return f"{count:,.0f}"


def human_seconds(seconds: float) -> str:
    """95 → "1 min 35 s"; 0.4 → "under 1 s"."""
    if seconds < 1:
        return "under 1 s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:,.0f}"


def format_value(key: str, value: float | None) -> str:
    """A measured value in human units; "—" for what wasn't measured."""
    if value is None:
        return MISSING
    spec = metric_of(key)
    if spec.scientific:
        return f"{value:.1e}"
    if spec.kind == "bytes":
        return human_bytes(value)
    if spec.kind == "count":
        return human_count(value)
    if spec.kind == "ms":
        return f"{value:.3f} ms" if value < 10 else f"{value:.1f} ms"
    if spec.kind == "rate":
        return f"{human_count(value)} {spec.unit}"
    if spec.kind == "ratio":
        return f"{value:.2f}×"
    return f"{value:.4f}"


def format_exact(key: str, value: float | None) -> str:
    """The value with every digit that matters, for hovering over."""
    if value is None:
        return MISSING
    spec = metric_of(key)
    if spec.kind in ("bytes", "count"):
        return f"{value:,.0f}{' bytes' if spec.kind == 'bytes' else ''}"
    return f"{value:.6g} {spec.unit}".strip()


def format_difference(key: str, value: float | None, baseline: float | None) -> str:
    """How far a value is from the baseline's: scores by subtraction, everything else as a factor or per cent."""
    if value is None or baseline is None:
        return MISSING
    spec = metric_of(key)
    if spec.kind == "score":
        return signed(value - baseline)
    if spec.kind == "ratio" or baseline == 0:
        return signed(value - baseline, digits=2)
    return format_change(value / baseline)


def signed(value: float, digits: int = 4) -> str:
    """+0.0003 or −0.0003, with a true minus; what rounds to nothing is ±0."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return f"±{text}"
    return f"{'+' if value > 0 else '−'}{text}"


def format_change(ratio: float) -> str:
    """A ratio to the baseline in words: 0.11 → "9.1× less", 0.95 → "−5 %", 1.3 → "+30 %"."""
    if ratio <= 0:
        return "nothing left"
    if ratio <= 0.67:
        return f"{factor(1 / ratio)}× less"
    if ratio >= 2:
        return f"{factor(ratio)}× more"
    percent = (ratio - 1) * 100
    if abs(percent) < 0.05:
        return "±0 %"
    return f"{'+' if percent > 0 else '−'}{abs(percent):.{0 if abs(percent) >= 10 else 1}f} %"


def factor(value: float) -> str:
    """A factor to one decimal, whole above 100: 9.4, 231."""
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
