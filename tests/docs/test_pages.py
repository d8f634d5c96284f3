"""The pages agree with the code and with each other."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import apsw
import pytest

import sqlite_claims
from sqlite_claims import InstanceState, TaskState
from sqlite_claims.sqlite.statements import migrations

from .pages import PAGES, ROOT

LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]*))?\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, in the form in which links contain them."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for path, anchor in LINK.findall(FENCED.sub("", page.read_text("utf-8"))):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.relative_to(ROOT)} links to {path}"
        if anchor:
            assert anchor in anchors(target), f"{page.relative_to(ROOT)} links to {path}#{anchor}"


def test_every_page_of_the_docs_can_be_found_from_an_index() -> None:
    linked = set()
    for index in (ROOT / "README.md", ROOT / "docs" / "index.md", ROOT / "docs" / "adr" / "README.md"):
        linked |= {(index.parent / path).resolve() for path, _ in LINK.findall(index.read_text("utf-8")) if path}
    assert set(PAGES) - {ROOT / "README.md"} <= linked


def test_every_file_that_the_architecture_names_exists() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    named = re.findall(r"`([\w/]+\.(?:py|sql|c|md)|[\w/]+/)`", page)
    package = ROOT / "sqlite_claims"
    roots = (ROOT, package, package / "memory", package / "sqlite" / "sql", ROOT / "tests" / "conformance")
    assert len(named) > 60
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []


def schema() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    for _, script in migrations():
        connection.execute(script)
    return connection


def test_the_file_format_tells_every_table_view_and_column_and_none_besides() -> None:
    page = (ROOT / "docs" / "file-format.md").read_text("utf-8")
    told = {}
    for section in re.split(r"^##+ ", page, flags=re.MULTILINE)[1:]:
        table = re.match(r"(claims_\w+)\n", section)
        if table:
            rows = section.split("| column | meaning |\n", 1)[1].split("\n\n")[0]
            cells = re.findall(r"^\| (`[^|]*`) \|", rows, re.MULTILINE)
            told[table[1]] = [column for cell in cells for column in re.findall(r"`(\w+)`", cell)]
    connection = schema()
    stored = {
        table: [column for (column,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
        for (table,) in connection.execute(
            "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name GLOB 'claims*'"
        )
    }
    assert told == stored


def test_the_file_format_tells_every_index_and_the_version() -> None:
    page = (ROOT / "docs" / "file-format.md").read_text("utf-8")
    indices = {
        name for (name,) in schema().execute("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")
    }
    tables = {name for (name,) in schema().execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")}
    assert {name for name in re.findall(r"`(claims_\w+)`", page) if name not in tables} == indices
    assert f"the tables of `schema_version` **{max(version for version, _ in migrations())}**" in page


@pytest.mark.parametrize("states", [TaskState, InstanceState])
def test_the_state_machine_shows_every_state(states: type[TaskState | InstanceState]) -> None:
    page = (ROOT / "docs" / "state-machine.md").read_text("utf-8")
    drawn = page.split("## An instance")[states is InstanceState]
    found = set(re.findall(r"^    (\w+) -->", drawn, re.MULTILINE)) | set(re.findall(r"--> (\w+)", drawn))
    assert found == {state.value for state in states}


@pytest.mark.parametrize("name", sqlite_claims.__all__)
def test_every_public_name_has_a_docstring_and_a_place_in_the_reference(name: str) -> None:
    value = getattr(sqlite_claims, name)
    assert vars(value).get("__doc__") if inspect.isclass(value) else inspect.getdoc(value)
    assert f"::: sqlite_claims.{name}\n" in (ROOT / "docs" / "reference.md").read_text("utf-8")


@pytest.mark.parametrize(
    "name", [name for name in sqlite_claims.__all__ if inspect.isclass(getattr(sqlite_claims, name))]
)
def test_every_public_method_has_a_docstring(name: str) -> None:
    value = getattr(sqlite_claims, name)
    bare = [
        key
        for key, member in inspect.getmembers(value)
        if not key.startswith("_") and (inspect.isfunction(member) or isinstance(member, property))
        if not inspect.getdoc(member) and not inspect.getdoc(getattr(value, key))
    ]
    assert not bare


def string_constants() -> list[str]:
    """Return every string literal of the package. From f-strings, return only the constant text."""
    trees = [ast.parse(path.read_text("utf-8")) for path in (ROOT / "sqlite_claims").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_each_message_of_the_troubleshooting_page_is_one_of_the_code() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    texts = string_constants()
    headings = re.findall(r"^### `(.+)`$", page, re.MULTILINE)
    missing = [
        part for heading in headings for part in heading.split("…") if not any(part.strip() in text for text in texts)
    ]
    assert len(headings) > 30
    assert missing == []
