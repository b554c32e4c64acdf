"""Read the packets of a video stream, and detect whether they end too early."""

import re
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import av

from ..inputs import open_input
from .container import check_read

VideoPacket: TypeAlias = "av.Packet[av.VideoStream]"  # PyAV's class is generic in its stub only


@dataclass
class End:
    """How the packets of a file ended."""

    packets: int = 0
    last: "VideoPacket | None" = None
    last_s: float = 0.0
    broke_off: bool = False

    def too_early(self, path: Path | str, container: av.container.InputContainer, stream: av.VideoStream) -> bool:
        """Return whether fewer packets came than the header promises: a truncated file ends without an error."""
        if times_by_dts(container) and self.last and stream.frames:
            # Each dropped frame is an empty chunk, which FFmpeg counts in dts and does not return.
            came = (self.last.dts or 0) + 1
            return came < stream.frames and came + _dropped_at_end(path, container, self.last) < stream.frames
        if stream.frames:  # containers with an index
            return self.packets < stream.frames
        alone = len(container.streams) == 1 and container.format.name.startswith("matroska")
        claimed_s = container.duration / av.time_base if alone and container.duration else 0.0
        # Half a second: the claim includes the last frame's duration, and some writers round it.
        return self.last_s < claimed_s - 0.5


def times_by_dts(container: av.container.InputContainer) -> bool:
    """Return whether a container stores decoding times only, so that its pts are FFmpeg's guesses."""
    return container.format.name == "avi"


def packets(container: av.container.InputContainer, stream: av.VideoStream, end: End) -> Iterator[VideoPacket]:
    """Yield packets up to the end, or to where the container breaks off, and record the end in ``end``.

    Raises InputError where the file could not be read.
    """
    source = container.demux(stream)
    while True:
        try:
            packet = next(source)
        except StopIteration:
            check_read(container)
            return
        except (av.FFmpegError, ValueError):
            check_read(container)
            end.broke_off = True
            return
        if packet.size:  # PyAV adds an empty packet at the end
            end.packets, end.last = end.packets + 1, packet
            end.last_s = max(end.last_s, float((packet.pts or 0) * packet.time_base))
            yield packet


def _dropped_at_end(path: Path | str, container: av.container.InputContainer, last: VideoPacket) -> int:
    """Return the number of frames dropped after the last packet of an AVI file."""
    ranges = container.file and container.file.file
    if last.pos is None or (isinstance(path, str) and not ranges):  # a stream is read once only
        return 0
    dropped = 0
    with nullcontext(ranges) if ranges else open_input(Path(path)) as file:
        file.seek(last.pos - 8)
        own, size = name, _ = _chunk(file.read(8))
        while re.fullmatch(rb"[0-9]{2}[a-z]{2}", name):
            file.seek(size + size % 2, 1)
            name, size = _chunk(file.read(8))
            dropped += name == own and size == 0
    return dropped


def _chunk(head: bytes) -> tuple[bytes, int]:
    return head[:4], int.from_bytes(head[4:], "little")
