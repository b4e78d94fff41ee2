"""Home: what is running, the best trade-off of each project; at an empty database the sample."""

from ui.home import view as parts
from ui.shared.failures import draw_failures, warn_of_another_database
from ui.shared.state import store

warn_of_another_database(store())
now = parts.situation(store())
if now.kind == "filled":
    parts.draw_projects(store(), now.projects)
elif now.kind == "preparing":
    parts.draw_preparing(store(), now.data)
elif now.kind == "needs_runs":
    parts.draw_needs_runs(store(), now.model, now.data)
elif now.kind == "needs_model":
    parts.draw_needs_model(now.data)
elif now.kind == "needs_data":
    parts.draw_needs_data()
else:
    parts.draw_start(store())
draw_failures(store(), parts.PREPARING)
