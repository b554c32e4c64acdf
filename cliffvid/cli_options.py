"""The flags of a run: one for each field of Options and BulkOptions, for the commands that run the networks."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    BACKENDS,
    DECODE_DEVICES,
    DETECTOR_SHAPES,
    ENGINES,
    FORMATS,
    HDR,
    MATRICES,
    NETWORKS,
    PIXELS,
    PRECISIONS,
    BulkOptions,
    Options,
)


def _batch(text: str) -> int | str:
    """A number where it is one; Options refuses the rest."""
    return int(text) if text.isdecimal() else text


# Field of Options -> type and help of its flag. Names and defaults are the fields' own.
FLAGS = {
    "format": Annotated[str, typer.Option(help=f"{' | '.join(FORMATS)}; auto: by the output's ending, else parquet.")],
    "engines": Annotated[Path | None, typer.Option(help="A folder of model folders, searched first.")],
    "detector": Annotated[str, typer.Option(help="Detector's name, or auto: the best there is.")],
    "detector_shape": Annotated[
        str, typer.Option(help=f"{' | '.join(DETECTOR_SHAPES)}: of its canvas; auto: the detector's own.")
    ],
    "regressor": Annotated[str, typer.Option(help="Regressor's name, or auto: the best there is.")],
    "backend": Annotated[str, typer.Option(help=" | ".join(BACKENDS))],
    "device": Annotated[str, typer.Option(help="auto | cpu | cuda")],
    "precision": Annotated[str, typer.Option(help=" | ".join(PRECISIONS))],
    "threads": Annotated[int, typer.Option(help="Threads of the decoder and a network on the CPU; 0: all cores.")],
    "frame_batch": Annotated[
        str, typer.Option(parser=_batch, metavar="N|auto", help="Frames the detector takes at once.")
    ],
    "person_batch": Annotated[
        str, typer.Option(parser=_batch, metavar="N|auto", help="People the regressor takes at once.")
    ],
    "videos_at_once": Annotated[int, typer.Option(help="Inputs decoded at a time, into shared batches.")],
    "prefetch": Annotated[int, typer.Option(help="Batches a stage may run ahead; 0: no threads.")],
    "start_s": Annotated[float, typer.Option(help="Seconds; frames before it are left out.")],
    "end_s": Annotated[float, typer.Option(help="Seconds; frames from it on are left out.")],
    "stride": Annotated[int, typer.Option(help="Take the frames 0, N, 2N ...")],
    "stream": Annotated[
        int | None, typer.Option(help="Index of the video stream, as probe tells it. [default: the best]")
    ],
    "matrix": Annotated[str, typer.Option(help=f"{' | '.join(MATRICES)}: how YUV becomes RGB.")],
    "hdr": Annotated[str, typer.Option(help=" | ".join(HDR))],
    "deinterlace": Annotated[bool, typer.Option("--deinterlace", help="Make interlaced frames whole (bwdif).")],
    "pixels": Annotated[
        str, typer.Option(help=f"{' | '.join(PIXELS)}: scale RGB as the official code does, or the decoder's planes.")
    ],
    "image_fps": Annotated[float, typer.Option(help="Frames a second of a folder of images.")],
    "max_frame_mpx": Annotated[float, typer.Option(help="Refuse frames of more million pixels.")],
    "allow_network": Annotated[bool, typer.Option("--allow-network", help="Read http, https and rtsp addresses.")],
    "decode_device": Annotated[str, typer.Option(help=f"{' | '.join(DECODE_DEVICES)}; auto: the CPU.")],
    "max_people": Annotated[int, typer.Option(help="Per frame, best scores first; 0: no limit.")],
    "box_scale": Annotated[float | None, typer.Option(help="A crop's size in boxes. [default: the regressor's own]")],
    "focal_px": Annotated[
        float | None, typer.Option(help="The camera's focal length. [default: the frame's diagonal]")
    ],
    "fov_deg": Annotated[float | None, typer.Option(help="Or its horizontal field of view.")],
    "score": Annotated[float | None, typer.Option(help="Least detection score. [default: the detector's own]")],
    "iou_max": Annotated[
        float | None, typer.Option(help="Overlap from which a box is a better one's double. [default: the detector's]")
    ],
    "min_track_s": Annotated[float, typer.Option(help="Flag the rows of tracks that last less; none is left out.")],
    "overwrite": Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")],
}
# The same of BulkOptions.
BULK_FLAGS = {
    "engine": Annotated[str, typer.Option(help=" | ".join(ENGINES))],
    "workers": Annotated[int, typer.Option(help="Processes that decode; 0: fitting.")],
    "networks": Annotated[
        str, typer.Option(help=" | ".join(NETWORKS) + ": each worker's, or one process for all, as auto on a GPU.")
    ],
    "address": Annotated[str | None, typer.Option(help="Of a Ray cluster, or auto. [default: one on this machine]")],
    "shard": Annotated[str | None, typer.Option(help="i/n: only the part i, from 0, of n; then annotate-merge.")],
    "split_s": Annotated[
        float, typer.Option(help="Seconds; longer videos are cut into segments of about that; 0: none.")
    ],
    "checkpoint_s": Annotated[
        float, typer.Option(help="Seconds that finished videos wait to share a file: what a kill costs.")
    ],
    "retry_failed": Annotated[bool, typer.Option("--retry-failed", help="Try again what an earlier run gave up.")],
    "fail_fast": Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.")],
    "max_failures": Annotated[int | None, typer.Option(help="Stop when more inputs than that have failed.")],
}
# Fields whose flag bears another name.
SHORT = {"start_s": "start", "end_s": "end", "split_s": "split", "checkpoint_s": "checkpoint"}
KINDS = {"options": (Options, FLAGS), "bulk": (BulkOptions, BULK_FLAGS)}


def with_options(*without: str) -> Callable:
    """Gives a command, in place of its parameters ``options`` and ``bulk``, the flags of all fields of Options and
    BulkOptions but those ``without``, and calls it with what they make. The command takes all by keyword.
    """

    def decorate(command: Callable) -> Callable:
        parameters, made = [], {}
        for own in inspect.signature(command).parameters.values():
            if own.name not in KINDS:
                parameters.append(own)
                continue
            kind, flags = KINDS[own.name]
            fields = {SHORT.get(field, field): field for field in flags if field not in without}
            made[own.name] = kind, fields
            parameters += [
                own.replace(name=flag, default=getattr(kind, field), annotation=flags[field])
                for flag, field in fields.items()
            ]

        @functools.wraps(command)
        def call(**given):
            for name, (kind, fields) in made.items():
                given[name] = kind(**{field: given.pop(flag) for flag, field in fields.items()})
            return command(**given)

        call.__signature__ = inspect.Signature(parameters)
        call.__annotations__ = {p.name: p.annotation for p in parameters}
        return call

    return decorate
