"""Remember in the user's cache folder what was measured on this machine."""

import json
from contextlib import suppress
from pathlib import Path

from ..errors import OutputError
from ..files import write_whole


def recall(name: str) -> dict[str, object]:
    """Return what earlier runs measured; nothing if the file is missing or damaged."""
    try:
        known = json.loads(_file(name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def remember(name: str, known: dict[str, object]) -> None:
    """Write it, if that is possible: it only saves time."""
    with suppress(OutputError):
        write_whole(_file(name), json.dumps(known, indent=2).encode(), overwrite=True)


def _file(name: str) -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("cliffvid")) / name
