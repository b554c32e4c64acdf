"""Write the Python script by which Blender turns a .glb of cliffvid into FBX or a .blend file."""

from pathlib import Path

RATE = "RATE = 25.0"


def script(rate: float) -> bytes:
    """Return the script, for a video of that many frames a second."""
    text = Path(__file__).with_name("in_blender.py").read_text(encoding="utf-8")
    assert RATE in text
    return text.replace(RATE, f"RATE = {rate!r}").encode()
