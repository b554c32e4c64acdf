"""Interlaced frames made whole."""

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

import av
from av.filter import Graph


class TimedFrame(NamedTuple):
    """One decoded frame with its place and time; ``damaged``: it follows damage that no key frame has healed yet."""

    frame: av.VideoFrame
    index: int  # type: ignore[assignment]  # hides a tuple's own index(), which nobody looks for here
    pts: int
    time_s: float
    damaged: bool
    interlaced: bool


def deinterlaced(timed: Iterable[TimedFrame], time_base: Fraction) -> Iterator[TimedFrame]:
    """The same frames, interlaced ones made whole by FFmpeg's bwdif: one frame for each, others untouched."""
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
        frame.pts, frame.time_base = item.index, time_base  # bwdif needs a steady clock; the true one is in ``item``
        waiting.append(item)
        graph.vpush(frame)
        yield from ready(graph)
    if graph:
        graph.vpush(None)
        yield from ready(graph)
