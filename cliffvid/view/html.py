"""Build self-contained HTML pages from the templates in web/ and their common head."""

import json
from html import escape
from pathlib import Path
from string import Template

from ..names import encodable

WEB = Path(__file__).parent / "web"


def page(template: str, title: str, **values: str) -> bytes:
    """Return the page's bytes. ``values`` are inserted verbatim: the caller escapes text."""
    head = Template(part("head.html").rstrip()).substitute(title=escape(f"{title} · cliffvid"))
    return encodable(Template(part(template)).substitute(head=head, **values)).encode()


def script_json(data: object) -> str:
    """Return data as JSON that is safe inside a script element: ``<`` is escaped."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def part(name: str) -> str:
    """Return the text of a file in web/."""
    return (WEB / name).read_text(encoding="utf-8")
