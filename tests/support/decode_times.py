"""Films that keep the times of decoding only: AVIs whose frames are shown in another order, and copies of them."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av

Chunk = tuple[bytes, bool]  # data, and whether it is a key frame
VOP = b"\0\0\1\xb6"  # MPEG-4's start code of a frame
SIGNED = b"\0\0\1\xb2DivX503b1393p"  # user data: the encoder is one that packs
NOTHING_CODED = VOP + b"\x50\x4f"  # a frame that is as the one before, at 25 frames a second


def copied(make: Callable[[Path], object], raw: str, change: Callable = iter) -> Callable[[Path], None]:
    """A maker of a copy of what ``make`` writes to a raw stream of that suffix: in an AVI, whose chunks have no time
    but their places, or by way of one in another container. ``change`` makes other chunks of those there are.
    """

    def copy(path: Path) -> None:
        source = path.with_name(f"{path.name}.{raw}")
        make(source)
        avi = path if path.suffix == ".avi" else path.with_name(f"{path.name}.avi")
        with av.open(str(source)) as reading, av.open(str(avi), "w") as writing:
            stream = writing.add_stream_from_template(reading.streams.video[0])
            stream.time_base = Fraction(1, 25)
            chunks = [(bytes(packet), packet.is_keyframe) for packet in reading.demux(video=0) if packet.size]
            for place, (data, key) in enumerate(change(chunks)):
                packet = av.Packet(data)
                packet.pts = packet.dts = place
                packet.time_base, packet.is_keyframe, packet.stream = stream.time_base, key, stream
                writing.mux(packet)
        if avi != path:
            with av.open(str(avi)) as reading, av.open(str(path), "w") as writing:
                stream = writing.add_stream_from_template(reading.streams.video[0])
                for packet in reading.demux(video=0):
                    if packet.size:
                        packet.stream = stream
                        writing.mux(packet)

    return copy


def packed(chunks: list[Chunk]) -> Iterator[Chunk]:
    """MPEG-4 as DivX and XviD pack it, so that there is one frame to show for each chunk: a frame that is shown late
    shares its chunk with the one decoded next, and the last of those shown before it is followed by an empty one.
    """
    groups: list[tuple[bytes, bool, list[bytes]]] = []
    for data, key in chunks:
        if data[data.index(VOP) + 4] >> 6 == 2:  # predicted from both sides
            groups[-1][2].append(data)
        else:
            groups.append((SIGNED + data if key else data, key, []))
    for data, key, between in groups:
        yield data + b"".join(between[:1]), key
        yield from ((other, False) for other in between[1:])
        if between:
            yield NOTHING_CODED, False
