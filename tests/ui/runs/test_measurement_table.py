"""The numbers of a run as a table: in the order of their declaration, and what wasn't measured as a dash."""

from __future__ import annotations

from storage.records import Value
from ui.runs.verdict import measurement_table


def test_a_run_from_before_the_bundle_was_weighed_shows_a_dash():
    rows = measurement_table({"size_bytes": Value(10.0, baseline=20.0), "auc": Value(0.8),
                              "latency_p50_ms@512": Value(1.0, baseline=2.0)})
    assert [row["Metric"] for row in rows] == [
        "AUC", "Size on disk", "Download size", "Bundle size", "Memory after load", "Parameters", "Non-zero parameters",
        "Latency p50, batch 512"]
    by_title = {row["Metric"]: row for row in rows}
    assert by_title["Size on disk"]["Value"] == "10 B"
    assert set(by_title["Bundle size"].values()) == {"Bundle size", "—"}


def test_a_run_that_has_it_shows_the_bundle_beside_its_baseline():
    (row,) = [row for row in measurement_table({"bundle_bytes": Value(1.5e6, baseline=3e6)})
              if row["Metric"] == "Bundle size"]
    assert (row["Value"], row["Baseline"]) == ("1.50 MB", "3.00 MB")


def test_a_difference_without_an_interval_is_shown_as_one():
    (row, *_) = measurement_table({"calibration_error": Value(0.05, difference=0.01, baseline=0.04)})
    assert (row["Difference"], row["95 % interval"]) == ("+0.0100", "—")
