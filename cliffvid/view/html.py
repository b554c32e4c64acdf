"""Pages of one file that fetch nothing: the templates of web/ under the head that all of them have."""

import json
from html import escape
from pathlib import Path
from string import Template

from ..names import label

WEB = Path(__file__).parent / "web"


def page(template: str, title: str, **values: str) -> bytes:
    """A page as it is written. ``values`` stand in the template as they are: what is not HTML is to be escaped."""
    head = Template(part("head.html").rstrip()).substitute(title=escape(f"{title} · cliffvid"))
    return label(Template(part(template)).substitute(head=head, **values)).encode()


def script_json(data: object) -> str:
    """Return data as JSON that may stand in a page's script element: no text in it can end or nest that."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def part(name: str) -> str:
    """The text of a file of web/."""
    return (WEB / name).read_text(encoding="utf-8")
