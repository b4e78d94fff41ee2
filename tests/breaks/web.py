"""Breaks of the server and of the pages: who may ask, and what is shown of strangers' text."""

from tests.breaks.record import Break

WEB = (
    Break(
        "gate-host", "Any name is answered.",
        "ui/server/gate.py",
        "if name is None or not is_allowed(name, listens_at(), extra_hosts()):",
        "if name is None:",
        ("tests/security/test_gate.py::test_a_request_has_one_host_and_it_is_known",)),
    Break(
        "gate-two-hosts", "Of two Host headers the first is believed.",
        "ui/server/gate.py",
        "host_name(hosts[0]) if len(hosts) == 1 else None",
        "host_name(hosts[0]) if hosts else None",
        ("tests/security/test_gate.py::test_a_request_has_one_host_and_it_is_known",)),
    Break(
        "gate-socket", "Pages of other sites may open the web socket.",
        "ui/server/gate.py",
        'if connection.scope["type"] == "websocket" and is_foreign(connection):',
        "if False:",
        ("tests/security/test_server.py",)),
    Break(
        "gate-internal", "Streamlit's own routes are open.",
        "ui/server/gate.py",
        "if internal and route not in OPEN_ROUTES",
        "if False and route not in OPEN_ROUTES",
        ("tests/security/test_server.py",)),
    Break(
        "token-purpose", "A token for one purpose opens another.",
        "ui/server/tokens.py",
        'salt=f"token: {purpose}"',
        'salt="token"',
        ("tests/ui/server/test_upload_route.py",)),
    Break(
        "token-expiry", "A token never ends.",
        "ui/server/tokens.py",
        "return session if now < expiry else None",
        "return session",
        ("tests/ui/server/test_upload_route.py",)),
    Break(
        "link-path", "A link to one file opens every file.",
        "ui/server/routes.py",
        "f\"get {request.scope['path']}\", token,",
        '"get", token,',
        ("tests/ui/server/test_upload_route.py",)),
    Break(
        "upload-owner", "An upload is anybody's who knows its number.",
        "ui/server/routes.py",
        "if not sender.may_use(upload, request):",
        "if False:",
        ("tests/ui/server/test_upload_route.py",)),
    Break(
        "upload-foreign", "Other sites may send uploads.",
        "ui/server/routes.py",
        "        if is_foreign(request):\n",
        "        if False:\n",
        ("tests/ui/server/test_upload_route.py",)),
    Break(
        "upload-start", "The beginning of an upload may be of any size.",
        "ui/server/routes.py",
        "if len(body) > 4096:",
        "if False:",
        ("tests/ui/server/test_upload_route.py",)),
    Break(
        "escaped-home", "The folder of the home is shown as Markdown.",
        "ui/settings/view.py",
        "{escaped(store.home)}",
        "{store.home}",
        ("tests/ui/test_hostile_text.py::test_the_folder_and_the_database_of_settings_are_no_markup",)),
    Break(
        "escaped-title", "The title of a page is shown as Markdown.",
        "ui/shared/shell.py",
        "st.title(escaped(title), anchor=False)",
        "st.title(title, anchor=False)",
        ("tests/ui/test_hostile_text.py::test_no_page_makes_markdown_of_what_strangers_wrote[rebind]",)),
    Break(
        "escaped-failure", "The cause of a failure is shown as Markdown.",
        "ui/shared/failures.py",
        "{escaped(cause.message) if cause else",
        "{cause.message if cause else",
        ("tests/ui/test_hostile_text.py::test_no_page_makes_markdown_of_what_strangers_wrote[datasets]",)),
    Break(
        "escaped-notice", "The notice of another database is shown as Markdown.",
        "ui/shared/failures.py",
        "st.warning(escaped(notice))",
        "st.warning(notice)",
        ("tests/ui/home/test_home_page.py::test_a_home_of_another_database_is_told_with_what_to_do",)),
    Break(
        "escaped-step", "The method of a step that can't be read is shown as Markdown.",
        "ui/experiment/recipe_editor.py",
        "else escaped(step.method)}",
        "else step.method}",
        ("tests/ui/test_gone_plug_in.py",)),
    Break(
        "escaped-pinned", "The name of the pinned run is shown as Markdown.",
        "ui/shared/result_table.py",
        'escaped(f"#{pinned.job_id} {pinned.name}")',
        'f"#{pinned.job_id} {pinned.name}"',
        ("tests/ui/test_hostile_text.py::test_no_page_makes_markdown_of_what_strangers_wrote[compare_side]",)),
    Break(
        "defused-columns", "Cells of a table given by columns may run in a spreadsheet.",
        "ui/shared/table.py",
        "[defused(value) for value in values]",
        "list(values)",
        ("tests/ui/test_hostile_text.py::test_a_table_is_defused_whether_its_data_comes_by_rows_or_by_columns",)),
    Break(
        "defused-headings", "Headings of a table may run in a spreadsheet.",
        "ui/shared/table.py",
        "{defused(key): [defused(value)",
        "{key: [defused(value)",
        ("tests/ui/test_hostile_text.py::test_a_table_is_defused_whether_its_data_comes_by_rows_or_by_columns",)),
    Break(
        "defused-rows", "Cells of a table given by rows may run in a spreadsheet.",
        "ui/shared/table.py",
        "{defused(key): defused(value) for",
        "{defused(key): value for",
        ("tests/ui/test_hostile_text.py::test_a_table_is_defused_whether_its_data_comes_by_rows_or_by_columns",)),
    Break(
        "defused-keys", "Headings of a table given by rows may run in a spreadsheet.",
        "ui/shared/table.py",
        "{defused(key): defused(value) for",
        "{key: defused(value) for",
        ("tests/ui/test_hostile_text.py::test_a_table_is_defused_whether_its_data_comes_by_rows_or_by_columns",)),
    Break(
        "notice-home", "Home doesn't say that the folder belongs to another database.",
        "pages/home.py",
        "warn_of_another_database(store())\n",
        "",
        ("tests/ui/home/test_home_page.py::test_a_home_of_another_database_is_told_with_what_to_do",)),
    Break(
        "notice-settings", "Settings doesn't say that the folder belongs to another database.",
        "pages/settings.py",
        "warn_of_another_database(store())\n",
        "",
        ("tests/ui/home/test_home_page.py::test_a_home_of_another_database_is_told_with_what_to_do",)),
    Break(
        "workerless", "Nobody says that no worker runs.",
        "ui/shared/failures.py",
        'if store.counts().get("queued") and',
        "if False and",
        ("tests/ui/home", "tests/ui/runs")),
    Break(
        "failures-day", "Old failures stay on the page for ever.",
        "ui/shared/failures.py",
        "return [job for job in failed if (job.ended or 0) >= since]",
        "return failed",
        ("tests/ui/home/test_home_page.py",)),
)
