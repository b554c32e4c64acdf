"""A stand-in for PyAV decoding on a GPU: the real FFmpeg decodes on the CPU, and frames lie in memory of a FakeGpu.

As there, a frame's planes have addresses and no buffer, lines are longer than the frame is wide, and pixels are there
only once CUDA's legacy default stream was waited for. Memory of a frame that was let go is gone.

It stays for tests of values, and of what goes wrong: FFmpeg's real NVDEC path runs on tests/support/nullcuda, where all
frames are grey and what is asked of the GPU is counted.
"""

import ctypes
import threading
import weakref

import av
import numpy as np

from fake_gpu import FakeGpu, Wrapped

ALIGNMENT = 256
STORED = {"yuv420p": "nv12", "yuvj420p": "nv12", "yuv420p10le": "p010le"}  # what NVDEC makes of a stream's pixels


class FakeNvdec:
    """What stands for ``av.open``, and what it saw."""

    def __init__(self, gpu: FakeGpu, asynchronous: bool = True) -> None:
        self.gpu, self.asynchronous = gpu, asynchronous
        self.real_open, self.opened = av.open, []  # the HWAccel of each call
        self.live = weakref.WeakSet()  # frames whose memory is taken
        self.decoded, self.downloaded = 0, []  # ... and the pts of those that came to the host
        self.deep: set[int] = set()  # of frames that come with 10 bits, as P010
        self.failure: Exception | None = None  # of every packet

    def open(self, *arguments, hwaccel=None, **more):
        container = self.real_open(*arguments, **more)
        if hwaccel is None:
            return container
        self.opened.append(hwaccel)
        if hwaccel.is_hw_owned:  # FFmpeg takes the thread's current context
            assert hwaccel.options == {"primary_ctx": "0", "current_ctx": "1"}
            assert threading.get_ident() in self.gpu.entered
        return FakeContainer(self, container, hwaccel.is_hw_owned)


def put_in_place(monkeypatch, nvdec: FakeNvdec) -> FakeNvdec:
    """Make the stand-in what cliffvid finds."""
    monkeypatch.setattr("cliffvid.video.container.av.open", nvdec.open)
    return nvdec


class FakeContainer(Wrapped):
    def __init__(self, nvdec: FakeNvdec, container, stays: bool) -> None:
        super().__init__(container)
        streams = Streams(container.streams)
        streams.video = [FakeStream(nvdec, stream, stays) for stream in container.streams.video]
        self.__dict__["streams"] = streams

    def demux(self, stream):
        return self.wrapped.demux(stream.wrapped)

    def seek(self, offset, stream):
        self.wrapped.seek(offset, stream=stream.wrapped)


class Streams(list):
    video: list


class FakeStream(Wrapped):
    def __init__(self, nvdec: FakeNvdec, stream, stays: bool) -> None:
        super().__init__(stream)
        self.__dict__["codec_context"] = FakeDecoder(nvdec, stream.codec_context, stays)


class FakeDecoder(Wrapped):
    is_hwaccel = True

    def __init__(self, nvdec: FakeNvdec, context, stays: bool) -> None:
        super().__init__(context)
        self.__dict__.update(nvdec=nvdec, stays=stays)

    def decode(self, packet):
        assert self.wrapped.thread_count == 1
        if self.nvdec.failure:
            raise self.nvdec.failure
        stored = (frame.reformat(format=self._kind(frame)) for frame in self.wrapped.decode(packet))
        return [FakeSurface(self.nvdec, frame) if self.stays else frame for frame in stored]

    def _kind(self, frame) -> str:
        return "p010le" if frame.pts in self.nvdec.deep else STORED[frame.format.name]


class FakeSurface(Wrapped):
    """An av.VideoFrame on the device."""

    def __init__(self, nvdec: FakeNvdec, frame) -> None:
        super().__init__(frame)
        pixel = 2 if frame.format.name == "p010le" else 1
        pitch = -(-(frame.width * pixel + 1) // ALIGNMENT) * ALIGNMENT
        with nvdec.gpu.made_current():  # FFmpeg has a context of its own
            status, address = nvdec.gpu.cuda.cudaMalloc(pitch * (frame.height + frame.height // 2))
        assert status == nvdec.gpu.cuda.cudaError_t.cudaSuccess
        weakref.finalize(self, nvdec.gpu.cuda.cudaFree, address)
        places = (address, address + pitch * frame.height)
        self.__dict__.update(nvdec=nvdec, places=places, pitch=pitch)
        memory = nvdec.gpu.allocated[address]

        def decode() -> None:
            assert memory is not None
            for plane, place in zip(frame.planes, places, strict=True):
                rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
                for number, row in enumerate(rows[:, : frame.width * pixel]):
                    ctypes.memmove(place + number * pitch, row.tobytes(), len(row))

        nvdec.gpu.legacy.append(decode)
        if not nvdec.asynchronous:
            nvdec.gpu.cuda.cudaStreamSynchronize(nvdec.gpu.cuda.cudaStreamLegacy)
        nvdec.live.add(self)
        nvdec.decoded += 1

    @property
    def format(self):
        return av.VideoFormat("cuda", self.width, self.height)

    @property
    def sw_format(self):
        return self.wrapped.format

    @property
    def planes(self):
        return tuple(FakePlane(self, number) for number in range(2))

    def reformat(self, *, format):
        self.nvdec.downloaded.append(self.pts)
        return self.wrapped.reformat(format=format)


class FakePlane:
    """An av.video.plane.VideoPlane on the device."""

    def __init__(self, frame: FakeSurface, number: int) -> None:
        self._frame = frame
        self.buffer_ptr, self.line_size = frame.places[number], frame.pitch
        self.width, self.height = frame.width >> number, frame.height >> number
