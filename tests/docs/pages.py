"""Functions that read the pages of the documentation and the code blocks in these pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_BLOCK = re.compile(
    r"^(?P<continues><!-- continues -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
_FILE = re.compile(r"# (?P<name>\w+\.py)\n")


@dataclass(frozen=True)
class Block:
    """One code block of a page. The text of a Python block includes the text of the blocks that this block
    continues."""

    page: Path
    line: int
    language: str
    code: str
    module: str | None
    """The file name in the first line (``# name.py``), if other blocks import this one."""

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Return the page's blocks. A block after ``<!-- continues -->`` begins with the code of the blocks that it
    continues."""
    text = page.read_text("utf-8")
    before = ""
    for match in _BLOCK.finditer(text):
        code, module = match["code"], None
        if match["language"] == "python":
            named = _FILE.match(code)
            module = named["name"] if named else None
            before = code = before + code if match["continues"] else code
        yield Block(page, text[: match.start("code")].count("\n"), match["language"], code, module)


def all_blocks(language: str) -> list[Block]:
    """Return the code blocks in this language from all pages."""
    return [block for page in PAGES for block in blocks(page) if block.language == language]
