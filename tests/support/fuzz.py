"""Films damaged at random, processed in a process of its own: ``python tests/support/fuzz.py FIRST COUNT FOLDER``.

Prints one JSON object a case. A case that takes over 10 s ends the process with its traceback; a crash ends it anyway.
"""

import contextlib
import faulthandler
import json
import sys
from pathlib import Path

import av
import numpy as np

from clips import X264, film, picture
from toys import make_toys

LIMIT_S = 10
B_FRAMES = X264 | {"preset": "medium", "bf": "3", "refs": "2"}
SEEDS = {
    "film.mp4": {"options": B_FRAMES},
    "film.mkv": {"options": B_FRAMES},
    "film.webm": {"codec": "libvpx-vp9", "options": {"crf": "20", "deadline": "realtime", "cpu-used": "8", "g": "12"}},
    "film.ts": {"options": B_FRAMES},
    "film.avi": {"codec": "mpeg4", "options": {"q": "4", "bf": "2", "g": "12"}},
}


def make_seeds(folder: Path) -> None:
    """Five whole films, one in each container."""
    for name, how in SEEDS.items():
        film(folder / name, [picture(index, 4, 192, 144) for index in range(24)], **how)


def damaged(data: bytes, packets: list[tuple[int, int]], rng: np.random.Generator) -> bytes:
    """The file with flipped bits, cut short, or with packets missing, doubled or blank."""
    data = bytearray(data)
    kind = rng.choice(["flip", "cut", "drop", "blank", "double"])
    if kind == "flip":
        for at in rng.integers(0, len(data), rng.integers(1, 40)):
            data[at] ^= 1 << rng.integers(0, 8)
    elif kind == "cut":
        del data[rng.integers(1, len(data)) :]
    else:
        for which in sorted(rng.integers(0, len(packets), rng.integers(1, 4)), reverse=True):
            at, size = packets[which]
            if kind == "drop":
                del data[at : at + size]
            elif kind == "blank":
                data[at : at + size] = bytes(size)
            else:
                data[at:at] = data[at : at + size]
    return bytes(data)


def packets_of(path: Path) -> list[tuple[int, int]]:
    """``(place, size)`` of a film's packets in its file; a transport stream's are of 188 bytes."""
    if path.suffix == ".ts":
        return [(at, 188) for at in range(0, path.stat().st_size, 188)]
    with av.open(str(path)) as source:
        return [(packet.pos, packet.size) for packet in source.demux(video=0) if packet.size and packet.pos]


def main(first: int, count: int, folder: Path) -> None:
    from cliffvid import CliffvidError, Options, open_models, process, read_tracks

    make_seeds(folder)
    models = {"models_dir": make_toys(folder / "engines"), "detector": "toy-detector", "regressor": "toy-regressor"}
    options = [Options(**models, threads=threads, overwrite=True) for threads in (1, 3)]
    seeds = [(name, (folder / name).read_bytes(), packets_of(folder / name)) for name in SEEDS]
    with open_models(options[0]) as networks:
        for case in range(first, first + count):
            name, data, packets = seeds[case % len(seeds)]
            path, out = folder / f"case{Path(name).suffix}", folder / "case.parquet"
            path.write_bytes(damaged(data, packets, np.random.default_rng(case)))
            print(json.dumps({"case": case, "seed": name}), flush=True)  # known even if it crashes
            results = []
            for each in options:  # whatever the decoder's threads, the file is the same
                faulthandler.dump_traceback_later(LIMIT_S, exit=True)
                try:
                    report = process(path, out, each, models=networks)
                    tracks = read_tracks(out)
                    finite = all(np.isfinite(column).all() for column in tracks.columns().values())
                    result = {"status": report.as_dict()["status"], "frames": report.frames, "finite": finite}
                    results.append((result, out.read_bytes()))
                except CliffvidError as error:
                    results.append(({"status": "failed", "kind": type(error).__name__, "message": str(error)}, b""))
                faulthandler.cancel_dump_traceback_later()
            same = results[0] == results[1]
            print(json.dumps({"case": case, "seed": name, "same": same, **results[0][0]}), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
