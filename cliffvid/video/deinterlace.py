"""Deinterlace interlaced frames."""

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

import av
from av.filter import Graph

from .images.base import Decoded


class DisplayedFrame(NamedTuple):
    """One frame as displayed."""

    image: Decoded
    index: int  # type: ignore[assignment]  # hides tuple.index()
    pts: int
    time_s: float
    damaged: bool


class TimedFrame(NamedTuple):
    """A decoded frame with its index and time; ``damaged``: it follows damage that no key frame has ended yet."""

    frame: av.VideoFrame
    index: int  # type: ignore[assignment]  # hides tuple.index(), which is not used here
    pts: int
    time_s: float
    damaged: bool
    interlaced: bool


def deinterlaced(timed: Iterable[TimedFrame], time_base: Fraction) -> Iterator[TimedFrame]:
    """Yield the same frames, interlaced ones deinterlaced by FFmpeg's bwdif, one frame for each; others unchanged."""
    graph: Graph | None = None
    waiting: deque[TimedFrame] = deque()
    shape: tuple[int, int, str] | None = None

    def ready(graph: Graph) -> Iterator[TimedFrame]:
        while True:
            try:
                frame = graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return
            yield waiting.popleft()._replace(frame=frame)

    for item in timed:
        frame = item.frame
        if graph is None or (frame.width, frame.height, frame.format.name) != shape:
            if graph:
                graph.vpush(None)
                yield from ready(graph)
            shape = (frame.width, frame.height, frame.format.name)
            graph = Graph()
            source = graph.add_buffer(width=shape[0], height=shape[1], format=frame.format, time_base=time_base)
            bwdif, sink = graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink")
            graph.link_nodes(source, bwdif, sink).configure()
        frame.pts, frame.time_base = item.index, time_base  # bwdif needs regular times; the true ones are in ``item``
        waiting.append(item)
        graph.vpush(frame)
        yield from ready(graph)
    if graph:
        graph.vpush(None)
        yield from ready(graph)
