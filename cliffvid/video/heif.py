"""Recognise still images in mp4's boxes (HEIC, AVIF) by their brands: FFmpeg takes each of their tiles for a video."""

from pathlib import Path

from ..errors import InputError
from ..inputs import open_input

SUFFIXES = (".heic", ".heif", ".hif", ".avif")
# Major brands of stills; those of sequences (avis, hevc, msf1 ...) are videos with a track.
STILLS = ("heic", "heix", "heim", "heis", "avci", "mif1", "mif2", "avif")
MOST = 256  # first bytes of a file, which contain its brands


def brands(path: Path) -> list[str]:
    """Return an ISO media file's brands, the major one first; none for any other file."""
    try:
        with open_input(path) as file:
            head = file.read(MOST)
    except (OSError, InputError):
        return []  # opening it reports why
    if head[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return [head[at : at + 4].decode("latin-1") for at in (8, *range(16, end, 4))]


def is_still(kinds: list[str]) -> bool:
    """Return whether these are the brands of a still image."""
    return bool(kinds) and kinds[0] in STILLS
