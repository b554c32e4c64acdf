"""Open untrusted videos: only self-contained containers, and only the named file."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TypedDict

import av
from av.codec.hwaccel import HWAccel

from ..cuda import Gpu
from ..errors import BackendError, InputError, NoVideoError, RefusedError, UnreadableError
from ..inputs import RangeFile, check_input, open_input
from ..machine import on_gpu, split_device, usable_cores
from ..options import Options
from .ranges import open_ranges
from .stores import STORES, check_leave

# Self-contained containers. Listed, because by default FFmpeg also opens playlists that read other files and addresses,
# and even a text file (as an animated terminal); a protocol list alone does not prevent it.
CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,av1,obu,ivf,flv,asf,ogg,mxf,nut,gif,dv,rm,wtv,yuv4mpegpipe"
)
RANGES = {"protocol_whitelist": "none", "format_whitelist": CONTAINERS}  # read by Python
FILE = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
CAMERA = {"protocol_whitelist": "rtsp,rtp,udp,tcp,tls", "format_whitelist": "rtsp"}
CAMERA_TIMEOUT_S = 30


# Major brands of stills in mp4's boxes (HEIC, AVIF): FFmpeg takes each of their tiles for a video.
# Those of sequences (avis, hevc, msf1 ...) are videos with a track.
STILLS = ("heic", "heix", "heim", "heis", "avci", "mif1", "mif2", "avif")
BRANDS_BYTES = 256  # first bytes of a file, which contain its brands


class Titles(TypedDict, total=False):
    """Arguments of ``av.open`` for reading titles."""

    metadata_errors: str


# Titles in old encodings must not make a video unreadable. PyAV 19 replaces undecodable characters by default.
TITLES: Titles = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
# Decoders of several frames at once: 1.7x FFmpeg's default speed on two cores for streams of one slice per frame. The
# others are for old formats of small frames, or conceal damage differently from run to run when threaded.
THREADED = {"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "prores", "dnxhd", "mjpeg", "ffv1"}
# FFmpeg's default is one thread more than there are cores; twice as many as cores decoded 7 % faster on two. It
# recommends sixteen at most.
THREADS_A_CORE, THREADS_MAX = 2, 16
DECODER_BYTES = 256 << 20  # limit for one frame per thread, at 3 bytes a pixel: ten at 4K
DECODING = av.FFmpegError, OSError, ValueError, RuntimeError, NotImplementedError  # what PyAV raises
ATTACHED_PICTURE = av.stream.Disposition.attached_pic
TILE = av.stream.Disposition.dependent  # a tile of a picture, or a stream to be shown with another


def open_video(
    path: Path | str, options: Options, threads: int, surfaces: bool = False
) -> tuple[av.container.InputContainer, av.VideoStream]:
    """Return the opened container and its video stream to decode.

    ``threads`` is the number of decoder threads; 0: as many as suit the cores. With ``surfaces``, frames decoded by a
    CUDA device stay there, in the context of CUDA's runtime. Raises InputError of the kind that fits, and BackendError
    if ``decode_device`` is not available.
    """
    container = _open(path, options, surfaces)
    try:
        check_read(container)
        brand = container.metadata.get("major_brand")
        if brand in STILLS:
            raise NoVideoError(f"{path}: a picture ({brand}), not a video; pictures are read from local files")
        stream = _choose(container, path, options)
        limit = int(options.max_frame_mpx * 1e6)
        if stream.width * stream.height > limit:
            raise RefusedError(
                f"{path}: frames of {stream.width} x {stream.height} pixels are above --max-frame-mpx "
                f"{options.max_frame_mpx:g}; raise it if the file is to be trusted"
            )
        decoder = stream.codec_context
        if options.decode_device == "cuda" and not decoder.is_hwaccel:  # another of its streams may work
            raise UnreadableError(f"{path}: CUDA devices decode no {decoder.name}; try --decode-device cpu")
        decoder.options = {"max_pixels": str(limit)}  # for sizes known to the decoder only
        # Threads share one NVDEC, and each would take some of its at most 32 surfaces.
        threaded = decoder.name in THREADED and options.decode_device != "cuda"
        most = DECODER_BYTES // (3 * max(stream.width * stream.height, 1))
        suited = threads or max(min(THREADS_A_CORE * usable_cores(), THREADS_MAX, most), 1)
        decoder.thread_type, decoder.thread_count = "AUTO", suited if threaded else 1
        if decoder.thread_count != 1:
            # A frame may be returned before its thread marks it as corrupt; errors are always raised.
            decoder.options |= {"err_detect": "explode"}
        return container, stream
    except BaseException:
        close(container)
        raise


def close(container: av.container.InputContainer) -> None:
    """Close a container and the file that it reads through Python, which PyAV leaves open."""
    file = container.file.file if container.file else None
    container.close()
    if file:
        file.close()


def _open(path: Path | str, options: Options, surfaces: bool) -> av.container.InputContainer:
    file, rules, timeout = named(path, options)
    on_cuda = options.decode_device == "cuda"
    try:
        networks = options.device if on_gpu(options.device, options.backend) else None
        device = cuda(surfaces, networks) if on_cuda else None
        return av.open(file, "r", container_options=rules, timeout=timeout, hwaccel=device, **TITLES)
    except (*DECODING, BackendError) as error:
        if isinstance(file, RangeFile):
            file.close()
            file.check()
        if on_cuda:
            close(_open(path, replace(options, decode_device="cpu"), False))  # raises if the file is at fault
            words = f"{path}: FFmpeg cannot decode it on a CUDA device ({reason(error)}); try --decode-device cpu"
            if type(error) is RuntimeError:  # PyAV's for formats that CUDA devices do not decode: others may work
                raise UnreadableError(words) from error
            raise BackendError(f"{words}; `cliffvid doctor` tells more") from error
        raise UnreadableError(
            f"{path}: not a readable video ({reason(error)}); a download cut short, or no video at all?"
        ) from error


def named(path: Path | str, options: Options) -> tuple[str | RangeFile, dict[str, str], int | None]:
    """Return what PyAV opens for an input, with which rules and time limit in seconds."""
    if file := open_ranges(path, options):
        return file, RANGES, None
    if isinstance(path, Path):
        check_input(path)
        return f"file:{path.absolute()}", FILE, None
    if path.partition("://")[0].lower() != "rtsp":
        raise RefusedError(f"{path}: addresses must begin with {', '.join(['rtsp', *STORES])}")
    check_leave(path, options)
    return path, CAMERA, CAMERA_TIMEOUT_S


def check_read(container: av.container.InputContainer) -> None:
    """Raise the InputError that ended the reading of a file, which FFmpeg takes for damage or for the end."""
    if container.file:
        container.file.file.check()


def cuda(surfaces: bool = False, networks: str | None = None) -> HWAccel:
    """Return FFmpeg's hardware decoding on the GPU of the networks, else on the first one.

    ``surfaces`` as in ``open_video``. Raises BackendError.
    """
    number = split_device(networks or "cuda")[1]
    context: dict[str, object] = {}
    if surfaces or networks:
        # The context of onnxruntime's memory: another would take 400 MB a video. It is requested as the current one:
        # FFmpeg takes the primary one only where it is not set up yet, or has flags that onnxruntime does not set.
        Gpu(number).enter()
        context = {"primary_ctx": "0", "current_ctx": "1"}
    return HWAccel("cuda", device=str(number), allow_software_fallback=False, options=context, is_hw_owned=surfaces)


def decoding_fault(device: HWAccel | None) -> str | None:
    """Return why FFmpeg cannot decode H.264 on a device (None: the CPU), in its words; None if it decoded a frame."""
    side = 256  # NVDEC refuses small frames
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = side, side, "yuv420p", Fraction(1, 25)
    packets = [*encoder.encode(av.VideoFrame(side, side, "yuv420p")), *encoder.encode(None)]
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)  # its errors are numbers; the reasons are in its log
    try:
        with av.logging.Capture() as log:
            decoder = av.CodecContext.create("h264", "r", hwaccel=device)
            frames = [frame for packet in (*packets, None) for frame in decoder.decode(packet)]
    except DECODING as error:
        return "; ".join(line.strip() for _, _, line in log) or reason(error)
    finally:
        av.logging.set_level(level)
    if device and not decoder.is_hwaccel:
        return "this FFmpeg decodes no H.264 there"
    return None if frames else "no frame came out"


def _choose(container: av.container.InputContainer, path: Path | str, options: Options) -> av.VideoStream:
    """Return the requested stream, else the default, else the largest; no tiles, attached pictures only on request."""
    videos = [s for s in container.streams.video if not s.disposition & (ATTACHED_PICTURE | TILE)]
    if options.stream is not None:
        videos = [s for s in container.streams.video if s.index == options.stream and not s.disposition & TILE]
    if not videos:
        kinds = ", ".join(_kind(s) for s in container.streams) or "none at all"
        wanted = "no video stream" if options.stream is None else f"no video stream {options.stream}"
        raise NoVideoError(f"{path}: holds {wanted}; its streams: {kinds}")
    default = av.stream.Disposition.default

    def rank(stream: av.VideoStream) -> tuple[int, bool, int]:
        # A stream of an unknown codec has no context and no size. An animation may contain a still too.
        if stream.codec_context is None:
            return 0, False, 0
        return 1 + bool(stream.disposition & default), stream.frames != 1, _area(stream)

    stream = max(videos, key=rank)
    if stream.codec_context is None or not _area(stream):
        raise UnreadableError(f"{path}: its video stream cannot be decoded (unknown codec or size)")
    return stream


def _kind(stream: av.stream.Stream) -> str:
    return f"{stream.index} {'tile of a picture' if stream.disposition & TILE else stream.type}"


def _area(stream: av.VideoStream) -> int:
    return stream.width * stream.height


def nothing_decoded(path: Path | str, options: Options) -> UnreadableError:
    """Return the error for a video of which no frame could be decoded."""
    why = "the file is damaged or cut short"
    if options.decode_device == "cuda":
        why += ", or the CUDA device does not know its format: try --decode-device cpu"
    return UnreadableError(f"{path}: not one frame could be decoded; {why}")


def check_memory(error: Exception, path: Path | str, options: Options) -> None:
    """Raise BackendError if a CUDA device's memory did not suffice to decode, which is no fault of the file."""
    if options.decode_device == "cuda" and isinstance(error, MemoryError):
        raise BackendError(
            f"{path}: the CUDA device has no memory left to decode it; end what else runs there, take a smaller "
            "--frame-batch, or --decode-device cpu"
        ) from error


def reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def brands(path: Path) -> list[str]:
    """Return an ISO media file's brands, the major one first; none for any other file."""
    try:
        with open_input(path) as file:
            head = file.read(BRANDS_BYTES)
    except (OSError, InputError):
        return []  # opening it reports why
    if head[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return [head[at : at + 4].decode("latin-1") for at in (8, *range(16, end, 4))]


def is_still(kinds: list[str]) -> bool:
    """Return whether these are the brands of a still image."""
    return bool(kinds) and kinds[0] in STILLS
