"""What a run is worth beside its baseline, in one sentence that hides no loss.

    sentence("int8", values, batch_sizes=(1, 512))
    # "int8: 3.7× smaller, 9 % faster at batch 512 but 40 % slower at batch 1, AUC −0.0003 (no worse within 0.001,
    # 95 %)."

A gain is said at the largest batch size and in the task's first metric. A loss is named wherever it is: every batch
size of the target at which the run is slower, every quality metric that is worse beyond its interval, every figure in
bytes that grew. Pages, the model card and the benchmarks take the sentence from here, so that all say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from compression.spec.metrics import METRICS, PARITY_LIMIT
from compression.spec.task import DEFAULT_TASK, TASKS
from compression.spec.values import Value
from compression.tasks.units import factor, metric_of, metric_title, signed, split_key, title_within

Standing = Literal["better", "kept", "worse", "unclear", "unmeasured"]
Speed = Literal["faster", "same", "slower", "unclear"]
Known = Mapping[str, Value]
TABLE_DIGITS = 5  # of scores in tables of all numbers; a difference that is nothing there is nothing here


@dataclass(frozen=True)
class Judgement:
    """Where a run stands in a quality metric, and the words for it."""

    standing: Standing
    words: str


class Ratio(NamedTuple):
    """Time of the file over time of the baseline at one batch size, with its 95 % interval if it has one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The words of a run; `losses` are those of all that is worse, as `text` has them."""

    text: str
    standing: Standing  # in the task's first metric
    losses: tuple[str, ...]


def sentence(name: str, values: Known, *, task: str = DEFAULT_TASK, batch_sizes: Sequence[int] = ()) -> str:
    """The verdict of a run under its name."""
    return f"{name}: {verdict_of(values, task=task, batch_sizes=batch_sizes).text}."


def verdict_of(values: Known, *, task: str = DEFAULT_TASK, batch_sizes: Sequence[int] = ()) -> Verdict:
    """What a run gains and loses. `batch_sizes` are the target's; empty: those at which it was timed."""
    wanted = tuple(batch_sizes) or timed_sizes(values)
    parts = (_size(values), _speed(values, wanted), _quality(values, task))
    text = ", ".join(part.text for part in parts) if any(part.measured for part in parts) else (
        "nothing to compare with the baseline")
    first = TASKS[task].primary_metric
    return Verdict(text, judge(first, values.get(first), TASKS[task].tolerance).standing,
                   tuple(words for part in parts for words in part.losses))


@dataclass(frozen=True)
class _Part:
    """A piece of the sentence: what leads, the losses, and what is open beside it."""

    lead: str  # "" where the losses say all
    losses: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    measured: bool = True

    @property
    def text(self) -> str:
        said = self.lead + (" but " if self.lead and self.losses else "") + _listed(self.losses)
        return ", ".join(one for one in (said, *self.open) if one)


def _listed(words: Sequence[str]) -> str:
    return " and ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} and {words[-1]}"


# size

def size_words(value: Value | None) -> str | None:
    """"9.4× smaller", "3 % larger", "the same size"; None where it wasn't measured."""
    if value is None or not value.baseline or not value.value:
        return None
    return _times(value.value / value.baseline, "smaller", "larger", "the same size",
                  METRICS["size_bytes"].same_within)


def _size(values: Known) -> _Part:
    """Bytes of the file; then every other figure in bytes that grew beyond what two measurements differ by."""
    words = size_words(values.get("size_bytes"))
    grown = []
    for key, value in values.items():
        spec = metric_of(key)
        if spec.group != "size" or spec.kind != "bytes" or key == "size_bytes" or not value.baseline:
            continue
        ratio = value.value / value.baseline
        if ratio - 1 > spec.same_within:
            grown.append(f"{spec.title.lower()} {_times(ratio, 'smaller', 'larger', 'the same', spec.same_within)}")
    if words and words.endswith("larger"):
        return _Part("", (words, *grown))
    return _Part(words or "size not measured", tuple(grown), measured=words is not None)


# speed

def timed_sizes(values: Known) -> tuple[int, ...]:
    """Batch sizes at which the run can be held against its baseline."""
    sizes = {split_key(key)[1] or 0 for key in values if split_key(key)[0] in ("latency_ratio", "latency_p50_ms")}
    return tuple(sorted(size for size in sizes if ratio_at(values, size)))


def ratio_at(values: Known, batch: int) -> Ratio | None:
    """Time over the baseline's at a batch size: the paired ratio, else that of the medians; None where neither is."""
    at = f"@{batch}" if batch else ""
    paired, median = values.get(f"latency_ratio{at}"), values.get(f"latency_p50_ms{at}")
    if paired is not None and paired.value > 0:
        return Ratio(paired.value, paired.ci_low, paired.ci_high)
    if median is not None and median.baseline and median.value > 0:
        return Ratio(median.value / median.baseline)
    return None


def speed_of(ratio: Ratio) -> Speed:
    """Faster or slower than the baseline by more than two sessions of one file differ, and by the whole interval."""
    if abs(ratio.value - 1) <= METRICS["latency_ratio"].same_within:
        return "same"
    if ratio.low is not None and ratio.high is not None and ratio.low <= 1 <= ratio.high:
        return "unclear"
    return "slower" if ratio.value > 1 else "faster"


def slower_at(values: Known, batch_sizes: Sequence[int]) -> tuple[int, ...]:
    """The batch sizes at which the run is slower than its baseline; an empty list asks for those it was timed at."""
    ratios = ((batch, ratio_at(values, batch)) for batch in batch_sizes or timed_sizes(values))
    return tuple(batch for batch, ratio in ratios if ratio is not None and speed_of(ratio) == "slower")


def speed_words(ratio: Ratio, batch: int) -> str:
    """"3.1× faster at batch 512", "as fast at batch 1", "not settled at batch 1: 0.95 to 1.20 of the time"."""
    where = f" at batch {batch:,}" if batch else ""
    if speed_of(ratio) == "unclear":
        return f"speed not settled{where} ({ratio.low:.2f} to {ratio.high:.2f} of the time, 95 %)"
    return _times(ratio.value, "faster", "slower", "as fast", METRICS["latency_ratio"].same_within) + where


def _speed(values: Known, batch_sizes: Sequence[int]) -> _Part:
    """The largest batch size leads; of the others those that are slower, not settled or not timed."""
    ratios = {batch: ratio for batch in sorted(batch_sizes) if (ratio := ratio_at(values, batch))}
    if not ratios:
        return _Part("speed not measured", measured=False)
    untimed = [batch for batch in sorted(batch_sizes) if batch not in ratios]
    largest = max(ratios)
    said = {batch: speed_words(ratio, batch) for batch, ratio in ratios.items()}
    slower = [batch for batch, ratio in ratios.items() if speed_of(ratio) == "slower"]
    open_ = [said[batch] for batch, ratio in ratios.items() if speed_of(ratio) == "unclear" and batch != largest]
    if untimed:
        open_.append(f"speed not measured at batch {_listed([f'{batch:,}' for batch in untimed])}")
    lead = "" if largest in slower else said[largest]
    return _Part(lead, tuple(said[batch] for batch in sorted(slower, key=lambda batch: (batch != largest, batch))),
                 tuple(open_))


def largest_batch_key(values: Mapping[str, object], metric: str) -> str | None:
    """The key of a metric at the largest batch size there is: "latency_ratio@512"."""
    keys = [key for key in values if split_key(key)[0] == metric]
    return max(keys, key=lambda key: split_key(key)[1] or 0, default=None)


def _times(ratio: float, less: str, more: str, same: str, tolerance: float) -> str:
    if abs(ratio - 1) <= tolerance:
        return same
    big = max(ratio, 1 / ratio)
    word = less if ratio < 1 else more
    if big >= 1.5:
        return f"{factor(big)}× {word}"
    percent = abs(ratio - 1) * 100
    return f"{percent:.{0 if percent >= 1 else 1}f} % {word}"


# quality

def difference_of(value: Value | None) -> float | None:
    """The paired difference, else that of the two values, which were taken over the same rows."""
    if value is None:
        return None
    if value.difference is None and value.baseline is not None:
        return value.value - value.baseline
    return value.difference


def loss_of(key: str, value: Value | None) -> float | None:
    """How much worse than the baseline, positive is worse; None where it wasn't compared."""
    difference = difference_of(value)
    if difference is None:
        return None
    return -difference if metric_of(key).higher_is_better else difference


def loss_interval(key: str, value: Value) -> tuple[float, float] | None:
    """The 95 % interval of the loss, positive is worse; None without one."""
    if value.difference_low is None or value.difference_high is None:
        return None
    ends = (value.difference_low, value.difference_high)
    return (-ends[1], -ends[0]) if metric_of(key).higher_is_better else ends


def judge(key: str, value: Value | None, tolerance: float) -> Judgement:
    """Better, kept (no worse within the tolerance), worse or unclear, by the paired interval."""
    loss = loss_of(key, value)
    if value is None or loss is None:
        return Judgement("unmeasured", "not compared with the baseline")
    interval = loss_interval(key, value)
    if interval is None:
        return Judgement("unclear", "no interval")
    low, high = interval
    if low == high == 0:
        return Judgement("kept", "the same scores")
    if high < 0:
        return Judgement("better", "better, 95 %")
    if high <= tolerance:
        return Judgement("kept", f"no worse within {tolerance:g}, 95 %")
    if low > tolerance > 0:
        return Judgement("worse", f"worse by more than {tolerance:g}, 95 %")
    if low > 0:
        digits = _digits(low)
        return Judgement("worse", f"worse by {low:.{digits}f} to {high:.{digits}f}, 95 %")
    return Judgement("unclear", f"not settled by these rows: {signed(value.difference_low)} to "
                                f"{signed(value.difference_high)}, 95 %")


def _quality(values: Known, task: str) -> _Part:
    """The task's first metric leads; of the others those that are worse beyond their interval."""
    first, *others = TASKS[task].metrics
    tolerance = TASKS[task].tolerance
    judgement = judge(first, values.get(first), tolerance)
    losses = [_quality_words(key, values[key], judge(key, values[key], 0.0))
              for key in others if key in values and is_worse(key, values[key], tolerance)]
    parity = values.get("parity_error")
    if parity is not None and parity.value > PARITY_LIMIT and "layer_parity_error" not in values:
        losses.append(f"scores up to {parity.value:.2g} from those before the export")
    if judgement.standing == "unmeasured":
        return _Part(f"{metric_title(first)} not measured", tuple(losses), measured=bool(losses))
    words = _quality_words(first, values[first], judgement)
    worse = judgement.standing == "worse" or (
        loss_interval(first, values[first]) is None and is_worse(first, values[first], tolerance))
    return _Part("", (words, *losses)) if worse else _Part(words, tuple(losses))


def is_worse(key: str, value: Value, tolerance: float) -> bool:
    """Worse by the whole interval; without one, by more than the tolerance of the task's first metric."""
    loss = loss_of(key, value)
    if loss is None or round(loss, TABLE_DIGITS) <= 0:
        return False
    interval = loss_interval(key, value)
    return loss > tolerance if interval is None else interval[0] > 0


def _quality_words(key: str, value: Value, judgement: Judgement) -> str:
    difference = difference_of(value)
    return f"{title_within(key)} {signed(difference, _digits(difference))} ({judgement.words})"


def _digits(value: float) -> int:
    """Four decimals, as pages show scores; five where four would show nothing."""
    return TABLE_DIGITS if 0 < abs(value) < 0.5e-4 else 4
