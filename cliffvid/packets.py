"""The packets of a video stream up to their end, and whether that came too early."""

from collections.abc import Iterator
from dataclasses import dataclass

import av


@dataclass
class End:
    """How the packets of a file came to their end."""

    packets: int = 0
    last_s: float = 0.0
    broke_off: bool = False

    def too_early(self, container: av.container.InputContainer, stream: av.VideoStream) -> bool:
        """Whether fewer packets came than the header promises: a file cut short simply ends, without an error."""
        if stream.frames:  # containers with an index
            return self.packets < stream.frames
        alone = len(container.streams) == 1 and container.format.name.startswith("matroska")
        claimed_s = container.duration / av.time_base if alone and container.duration else 0.0
        # Half a second: the claim counts the last frame's own duration too, and some writers round it.
        return self.last_s < claimed_s - 0.5


def packets(container: av.container.InputContainer, stream: av.VideoStream, end: End) -> Iterator[av.Packet]:
    """Packets up to the end, or to where the container breaks off; ``end`` is told."""
    source = container.demux(stream)
    while True:
        try:
            packet = next(source)
        except StopIteration:
            return
        except (av.FFmpegError, ValueError):
            end.broke_off = True
            return
        if packet.size:  # the empty packet at the end is PyAV's own
            end.packets += 1
            end.last_s = max(end.last_s, float((packet.pts or 0) * packet.time_base))
            yield packet
