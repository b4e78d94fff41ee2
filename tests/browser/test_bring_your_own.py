"""A stranger's model and data from upload to a first trade-off in few clicks; published models to their numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from playwright.sync_api import Page, expect
from sklearn.metrics import roc_auc_score
from torch import nn

from compression.data.ingest import read_splits
from storage.access import LOCAL_ACCESS
from storage.store import open_store
from tests.browser.look import go, picture, settle
from tests.importers.graphs import export, files_of

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
USERS, ITEMS, ROWS = 400, 300, 4000
MOST_CLICKS = 10
IMPORT_S, RUN_S = 120, 240
# what a hand presses, counted by the page itself; the one press that closes a file dialog is added for each dialog
COUNT = """addEventListener('click', event => {
    if (event.isTrusted) sessionStorage.clicks = Number(sessionStorage.clicks || 0) + 1;
}, true);"""
SHARED = Path(__file__).parents[2] / "../shared/data"


class Stranger(nn.Module):
    """Two tables, their product and a small network over both; the log below is drawn from its own scores."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Embedding(USERS, 16), nn.Embedding(ITEMS, 16)
        self.top = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x0, x1):
        a, b = self.a(x0), self.b(x1)
        return 0.5 * (a * b).sum(1) + self.top(torch.cat([a, b], 1)).squeeze(1)


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.add_init_script(COUNT)
    yield context.new_page()
    context.close()


def upload(page: Page, *paths: Path) -> None:
    """Choose files in the dialog that the button opens, and wait until they have arrived."""
    with page.expect_file_chooser() as dialog:
        page.get_by_role("button", name="Choose files").click()
    dialog.value.set_files(list(map(str, paths)))
    expect(page.get_by_text(re.compile(r"B, ready$"))).to_have_count(len(paths), timeout=60_000)
    settle(page)


def save_dataset(page: Page) -> None:
    page.get_by_role("button", name="Save the dataset").click()
    expect(page.get_by_role("button", name="Upload a model for it")).to_be_visible(timeout=IMPORT_S * 1000)


def import_model(page: Page) -> None:
    """Import what is proposed; the model's page follows by itself."""
    expect(page.get_by_text("Any number of rows at a time.")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Import the model").click()
    expect(page.get_by_role("button", name="Compress it")).to_be_visible(timeout=IMPORT_S * 1000)
    settle(page)


def stranger_files(folder: Path) -> tuple[list[Path], Path]:
    """(files of the exported model, a log without a header)."""
    torch.manual_seed(0)
    model, draw = Stranger().eval(), np.random.default_rng(0)
    user, item = draw.integers(0, USERS, ROWS), draw.integers(0, ITEMS, ROWS)
    with torch.no_grad():
        chance = torch.sigmoid(model(torch.from_numpy(user), torch.from_numpy(item))).numpy()
    click = draw.random(ROWS) < chance
    log = folder / "log.csv"
    log.write_text("".join(f"{int(c)},{u},{i}\n" for c, u, i in zip(click, user, item, strict=True)))
    arguments = {name: torch.zeros(3, dtype=torch.int64) for name in ("x0", "x1")}
    return list(files_of(export(model, arguments, folder / "exported" / "net.onnx")).values()), log


def test_a_strangers_onnx_and_headerless_data_reach_a_plot_in_under_ten_clicks(app, page, tmp_path):
    model, log = stranger_files(tmp_path)
    go(page, app.url)
    page.get_by_role("button", name="Bring your own").click()
    settle(page)
    upload(page, log)
    save_dataset(page)
    picture(page, "bring-dataset")
    page.get_by_role("button", name="Upload a model for it").click()
    settle(page)
    upload(page, *model)
    picture(page, "bring-binding")
    import_model(page)
    expect(page.get_by_text("Measured when it was imported")).to_be_visible()
    picture(page, "bring-first-look")
    page.get_by_role("button", name="Queue suggested runs").click()
    page.wait_for_selector(".js-plotly-plot .scatterlayer .point", timeout=RUN_S * 1000)
    dialogs = 2
    clicks = int(page.evaluate("sessionStorage.clicks")) + dialogs
    assert clicks < MOST_CLICKS, clicks

    store = open_store(LOCAL_ACCESS, root=app.home)
    (row,) = store.models()
    assert row.notes["binding"]["inputs"] == {"x0": {"column": "column_2", "from": {"column_2": "as-is"}},
                                              "x1": {"column": "column_3", "from": {"column_3": "as-is"}}}
    lines = {line["name"]: line["measurements"] for line in row.notes["first_look"]["lines"]}
    auc = {name: next(one["value"] for one in found if one["metric"] == "auc") for name, found in lines.items()}
    assert auc["This model"] > max(auc["Constant"], auc["Logistic regression"])
    store.close()


def bring(app, page: Page, data: list[Path], model: list[Path]) -> dict[str, dict[str, float]]:
    """Data, then the model with what is proposed; gives the first look: line → metric → value."""
    go(page, f"{app.url}/datasets?add=upload")
    upload(page, *data)
    save_dataset(page)
    page.get_by_role("button", name="Upload a model for it").click()
    settle(page)
    upload(page, *model)
    import_model(page)
    expect(page.get_by_text("Measured when it was imported")).to_be_visible()
    store = open_store(LOCAL_ACCESS, root=app.home)
    look = store.models()[0].notes["first_look"]
    store.close()
    return {line["name"]: {one["metric"]: one["value"] for one in line["measurements"]} for line in look["lines"]}


@pytest.mark.realdata
@pytest.mark.skipif(not (SHARED / "models").is_dir(), reason="the private data folder is not beside the project")
def test_a_published_gmf_evaluates_to_its_published_numbers_from_the_browser(app, page):
    gmf = SHARED / "models" / "ncf_gmf_pytorch"
    found = bring(app, page, [gmf / "ml-1m.test.rating", gmf / "ml-1m.test.negative"], list(gmf.glob("gmf*.model")))
    picture(page, "bring-gmf")
    assert found["This model"]["hit_rate_10"] == pytest.approx(0.6477, abs=5e-5)
    assert found["This model"]["ndcg_10"] == pytest.approx(0.3734, abs=5e-5)
    expect(page.get_by_text("on 603,844 test rows")).to_be_visible()


@pytest.mark.realdata
@pytest.mark.skipif(not (SHARED / "models").is_dir(), reason="the private data folder is not beside the project")
def test_a_published_onnx_is_bound_by_its_own_mappings_and_evaluates_as_by_hand_from_the_browser(app, page):
    mf = SHARED / "models" / "mf_onnx"
    found = bring(app, page, [SHARED / "ml_latest_small" / "ratings.csv"], sorted(mf.iterdir()))
    picture(page, "bring-mf")
    expect(page.get_by_text("not in the model's vocabulary")).to_be_visible()  # younger films than its own
    store = open_store(LOCAL_ACCESS, root=app.home)
    (row,) = store.datasets()
    assert store.models()[0].notes["binding"]["inputs"] == {
        "user_idx": {"column": "userId", "from": {"userId": "file:user2idx"}},
        "movie_idx": {"column": "movieId", "from": {"movieId": "file:movie2idx"}}}
    folder = store.files.materialise(row.manifest, app.home / "rows")
    store.close()
    assert found["This model"]["auc"] == pytest.approx(auc_by_hand(mf, folder), abs=1e-6)


def auc_by_hand(mf: Path, data: Path) -> float:
    """The file as it was published, over the test rows, ids by its own mappings, 0 for ids it never saw."""
    test = read_splits(data)["test"]
    mappings = json.loads((mf / "metadata.json").read_text())
    ids = {name: np.array([mappings[mapping].get(value, 0) for value in test[column]], np.int64) for
           name, column, mapping in (("user_idx", "userId", "user2idx"), ("movie_idx", "movieId", "movie2idx"))}
    scores = onnxruntime.InferenceSession(mf / "recommender.onnx").run(None, ids)[0].ravel()
    return roc_auc_score(test["rating"].cast(float) >= 4, scores)
