"""Convert decoded frames for display: square pixels, upright, and RGB or planes with the matrix to make it."""

from fractions import Fraction

import av
import numpy as np
from av.buffer import Buffer
from av.filter import Graph
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc, VideoReformatter

from ..errors import RefusedError
from ..machine import usable_cores
from ..options import Options
from ..tables import Int32, UInt8
from .images.base import Decoded, Device
from .images.gpu import Surface
from .images.orientation import Orientation
from .images.rgb import RgbImage
from .images.yuv import YuvImage

HDR_TRANSFERS = {int(ColorTrc.SMPTE2084): "pq", int(ColorTrc.ARIB_STD_B67): "hlg"}
FORCED = {"bt601": Colorspace.ITU601, "bt709": Colorspace.ITU709, "bt2020": Colorspace.BT2020}
UNTAGGED = (2, 3)  # AVCOL_SPC_UNSPECIFIED and _RESERVED
HD_LINES = 720
# Formats that need no conversion: a plane of luma, and two of chroma at half its resolution.
PLANAR = ("yuv420p", "yuvj420p")
NV12 = "nv12"  # the same with interleaved chroma in one plane: how hardware stores frames
MATRIX_NAMES = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020"}
FULL_RANGE = 2  # AVCOL_RANGE_JPEG
SMALL_MPX = 1.0  # smaller frames cost less with one thread: 0.18 ms of CPU instead of 0.31 at 640 x 360


class Display:
    """Converts the frames of one stream for display; keeps FFmpeg's converter between frames."""

    def __init__(self, options: Options, device: Device | None = None) -> None:
        self._options, self._device = options, device
        self._convert = VideoReformatter()  # one for all frames: setting up a tone map takes 2 s
        self._graph: Graph | None = None
        self._graph_of: tuple[int, int, str, str] | None = None
        self._rotation = 0
        self._orientation: Orientation | None = None

    def show(self, frame: av.VideoFrame, aspect: Fraction | None) -> UInt8:
        """Return RGB (H,W,3) uint8 with contiguous rows, owned by the caller.

        ``aspect`` is a stored pixel's width / height. Raises RefusedError for a frame above ``max_frame_mpx``, for HDR
        if ``hdr`` is "refuse", and for colours that FFmpeg cannot convert.
        """
        width, height = self._size(frame, aspect)
        frame, tone = on_host(frame), {}
        if hdr_kind(frame):
            if self._options.hdr == "refuse":
                raise RefusedError(f"its colours are HDR ({hdr_kind(frame)}), which --hdr refuse forbids")
            # White is 203 cd/m2, the reference of BT.2408; brighter pixels become white.
            tone = {"dst_color_trc": ColorTrc.BT709, "dst_color_primaries": ColorPrimaries.BT709}
            tone["dst_colorspace"] = Colorspace.ITU709
        matrix = matrix_of(frame, self._options.matrix)
        threads = 1 if width * height <= SMALL_MPX * 1e6 else usable_cores()
        name = _name(frame, matrix)
        try:
            if frame.format.name == PLANAR[0] and name and not tone and (width, height) == (frame.width, frame.height):
                rgb = self._plain(frame, name, threads)
            else:
                rgb = self._convert.reformat(frame, width, height, "rgb24", matrix, threads=threads, **tone)
        except OSError as error:  # not for lack of memory
            raise RefusedError(
                f"FFmpeg makes no RGB of its kind of colours ({error.strerror}); tell what to read them as with "
                f"--matrix: {', '.join(FORCED)}"
            ) from error
        plane = rgb.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(height, plane.line_size)
        shown = self._orientation_of(frame).show(rows[:, : width * 3].reshape(height, width, 3))
        if rgb is frame or shown.strides[0] < 0 or shown.strides[1:] != (3, 1):
            shown = shown.copy()  # the decoder may still need its frame; OpenCV cannot write to a rotated view
        return shown

    def _plain(self, frame: av.VideoFrame, matrix: str, threads: int) -> av.VideoFrame:
        """Return the frame as VideoReformatter converts it, in memory reused from earlier frames.

        New memory for each frame costs the kernel's time and, by fragmentation, sometimes a fifth more memory.
        """
        span = "full" if frame.color_range == FULL_RANGE else "limited"
        wanted = frame.width, frame.height, matrix, span
        graph = self._graph
        if graph is None or self._graph_of != wanted:
            graph = Graph()
            graph.threads = threads
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1)
            )
            # As VideoReformatter sets it: interlaced frames by fields.
            scale = graph.add("scale", f"in_color_matrix={matrix}:in_range={span}:flags=bilinear:interl=-1")
            graph.link_nodes(source, scale, graph.add("format", "rgb24"), graph.add("buffersink")).configure()
            self._graph, self._graph_of = graph, wanted
        graph.vpush(frame)
        return graph.vpull()

    def rgb(self, frame: av.VideoFrame, aspect: Fraction | None) -> Decoded:
        """Return the frame as ``show`` does, as an image."""
        return RgbImage(self.show(frame, aspect))

    def planes(self, frame: av.VideoFrame, aspect: Fraction | None) -> Decoded:
        """Return the frame's planes if they can be displayed without converting the whole frame, else as ``rgb`` does.

        Planes on a GPU stay there.
        """
        matrix = _name(frame, matrix_of(frame, self._options.matrix))
        size, even = (frame.width, frame.height), frame.width % 2 == frame.height % 2 == 0
        kinds = (NV12,) if frame.sw_format else (*PLANAR, NV12)
        stays = layout(frame).name in kinds and even and not hdr_kind(frame)
        if not matrix or not stays or self._size(frame, aspect) != size:
            return self.rgb(frame, aspect)
        full_range = frame.color_range == FULL_RANGE or frame.format.name == "yuvj420p"
        if frame.sw_format:
            assert self._device, "frames stay on a GPU for a device alone"
            return Surface(frame, matrix, full_range, self._orientation_of(frame), self._device)
        y, *colours = frame.planes
        if len(colours) == 2:
            u, v = map(_view, colours)
        else:
            pairs = _view(colours[0], pixel_bytes=2)
            u, v = pairs[:, ::2], pairs[:, 1::2]
        return YuvImage(_view(y), u, v, matrix, full_range, self._orientation_of(frame))

    def _size(self, frame: av.VideoFrame, aspect: Fraction | None) -> tuple[int, int]:
        width, height = square_size(frame.width, frame.height, aspect)
        if width * height > self._options.max_frame_mpx * 1e6:
            raise RefusedError(
                f"a frame of {width} x {height} pixels is above --max-frame-mpx {self._options.max_frame_mpx:g}; "
                "raise it if the file is to be trusted"
            )
        return width, height

    def _orientation_of(self, frame: av.VideoFrame) -> Orientation:
        # Reading side data makes a reference cycle, which keeps the pixels until the garbage collector runs. So it is
        # read only where the orientation can have changed.
        orientation = self._orientation
        if orientation is None or frame.rotation != self._rotation:
            orientation = Orientation.of(display_matrix(frame))
            self._rotation, self._orientation = frame.rotation, orientation
        return orientation


def layout(frame: av.VideoFrame) -> av.VideoFormat:
    """Return a frame's pixel format, on the host or on a GPU."""
    return frame.sw_format or frame.format


def on_host(frame: av.VideoFrame) -> av.VideoFrame:
    """Return the frame itself, or a copy on the host of one on a GPU."""
    return frame.reformat(format=frame.sw_format.name) if frame.sw_format else frame


def _view(plane: av.video.plane.VideoPlane, pixel_bytes: int = 1) -> UInt8:
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width * pixel_bytes]


def square_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Return the size in square pixels: the side that is too short grows, so that no detail is lost."""
    if not aspect or aspect <= 0 or aspect == 1:
        return width, height
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


def hdr_kind(frame: av.VideoFrame) -> str | None:
    """Return the kind of HDR: pq, hlg or None."""
    return HDR_TRANSFERS.get(frame.color_trc)


def matrix_of(frame: av.VideoFrame, rule: str) -> Colorspace | None:
    """Return the YUV matrix to decode with; None if the frame's tag holds, or if it is not YUV."""
    if layout(frame).is_rgb or len(layout(frame).components) < 3:
        return None
    if rule in FORCED:
        return FORCED[rule]
    if frame.colorspace not in UNTAGGED:
        return None
    return Colorspace.ITU709 if rule == "auto" and frame.height >= HD_LINES else Colorspace.ITU601


def _name(frame: av.VideoFrame, matrix: Colorspace | None) -> str | None:
    """Return the name of the matrix from ``matrix_of``; None for those that only FFmpeg's converter knows."""
    return MATRIX_NAMES.get(int(frame.colorspace if matrix is None else matrix))


def display_matrix(frame: av.VideoFrame) -> Int32:
    """Return the frame's display matrix (3,3)."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV fails for unknown kinds of side data, but still has the angle
        quarter = round(frame.rotation / 90) % 4
        a, b = ((1, 0), (0, -1), (-1, 0), (0, 1))[quarter]
        return np.array([[a, b, 0], [-b, a, 0], [0, 0, 1]], np.int32)
    return np.frombuffer(bytes(data), np.int32).reshape(3, 3) if isinstance(data, Buffer) else np.eye(3, dtype=np.int32)
