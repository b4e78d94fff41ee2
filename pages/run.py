"""Run: the verdict, the numbers against the baseline, where the bytes went, the recipe, the log and the files."""


from ui.runs.run import draw_ended, draw_head, draw_result, draw_waiting, opened_job
from ui.shared.state import store

job = opened_job(store())
draw_head(store(), job)
if job.state in ("queued", "running"):
    draw_waiting(store(), job)
elif job.state == "done" and job.result_ready:
    draw_result(store(), job)
else:
    draw_ended(store(), job)
