"""What a job's process tells its worker, and how often."""

from __future__ import annotations

from compression.spec.records import Progress
from jobs.child import MIN_INTERVAL_S, rate_limited


def test_reports_of_a_stage_are_rare_and_a_new_stage_is_told_at_once(capsys):
    now, told = [0.0], []
    report = rate_limited(told.append, clock=lambda: now[0])
    for after, stage, done in [(0, "load", 0), (0.01, "load", 1), (MIN_INTERVAL_S, "load", 2), (0.01, "train", 0),
                               (0.01, "train", 1), (MIN_INTERVAL_S, "train", 2)]:
        now[0] += after
        report(Progress(stage=stage, done=done))
    assert [(said.progress.stage, said.progress.done) for said in told] == [
        ("load", 0), ("load", 2), ("train", 0), ("train", 2)]
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["load", "train"]
