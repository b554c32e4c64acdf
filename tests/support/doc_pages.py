"""The README and the pages of the documentation, and the blocks of code on them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "pages").rglob("*.md"))]
BLOCK = re.compile(r"(<!-- not run: [^\n]+ -->\n)?^```(\w+)\n(.*?)^```$", re.M | re.S)


def blocks(page: Path, language: str, run: bool = False) -> list[str]:
    """Return the blocks of a language on a page; with ``run``, only those that are not marked as not run."""
    found = BLOCK.findall(page.read_text())
    return [text for mark, kind, text in found if kind == language and not (run and mark)]
