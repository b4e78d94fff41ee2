"""Pages show the workspace of the session, whatever another session of this process has drawn before."""


from storage.access import LOCAL_ACCESS, Access
from storage.store import open_store
from tests.ui.app import open_page, texts

PAGES = ("home", "models", "datasets", "runs", "compare", "experiment")


def addresses(store, run: int) -> list[tuple[str, dict]]:
    return [*((page, {}) for page in PAGES), ("run", {"id": run}), ("models", {"id": store.models()[0].id}),
            ("datasets", {"id": store.datasets()[0].id}), ("compare", {"c": store.comparisons()[0].id}),
            ("compare", {"project": store.projects()[0].key, "runs": run})]


def everything(app) -> str:
    """What a page says, its tables and choices included."""
    frames = [frame.value.to_csv() for frame in app.dataframe]
    return texts(app) + "\n".join([*frames, *(str(choice.options) for choice in app.selectbox)])


def test_no_page_shows_what_another_workspace_made(ids, home, monkeypatch):
    store = open_store(LOCAL_ACCESS, root=home)
    store.save_comparison("A comparison of ours", [ids["int8"]])
    names = [row.name for row in (*store.models(), *store.datasets(), *store.jobs().items, *store.comparisons())]
    pages = addresses(store, ids["int8"])
    for page, query in pages:
        shown = everything(open_page(page, **query))
        assert [name for name in names if name in shown], f"{page} {query} shows nothing to begin with"
    monkeypatch.setattr("ui.shared.state.access", lambda: Access(person="anna", workspace="another"))
    for page, query in pages:
        app = open_page(page, **query)
        assert not app.exception, (page, query, app.exception)
        assert [name for name in names if name in everything(app)] == [], (page, query)
    store.close()
