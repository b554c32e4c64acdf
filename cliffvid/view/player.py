"""Prepare the data of the report's 3D player: tracks and a body as JSON and one packed block of numbers."""

import base64
import zlib
from typing import TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from ..geometry import Array
from ..models.body import Body
from ..tables import NOT_DRAWN, Tracks
from ..tracks.colors import track_color
from ..tracks.level import Levels, grounded
from ..tracks.motion import joint_turns

ROWS_MAX = 60_000  # about 12 MB of HTML; beyond it only every second, third, ... row is shown

Place: TypeAlias = list[str | int]  # of an array in a Pack: kind, offset in bytes, count


class Player(TypedDict):
    """The JSON data that the page's script reads; arrays are referenced by their Place."""

    size: list[int]
    focal: float
    begin: float
    end: float
    centre: list[float]
    reach: float
    axes: list[list[float]]  # the rotation from the camera's frame to a level one
    floor: float | None  # the floor's height, from the camera
    parents: list[int]
    mesh: dict[str, object] | None
    tracks: list[dict[str, object]]


class Pack:
    """A block of concatenated arrays, each aligned to 4 bytes."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, values: Array | NDArray[np.integer], kind: str) -> Place:
        """Append values and return their place: kind, offset in bytes, count."""
        self._data += bytes(-len(self._data) % 4)
        flat = np.ascontiguousarray(values, "<" + kind).reshape(-1)
        place: Place = [kind, len(self._data), flat.size]
        self._data += flat.tobytes()
        return place

    def text(self) -> str:
        return base64.b64encode(zlib.compress(bytes(self._data), 6)).decode("ascii")


def player_data(
    tracks: Tracks, body: Body, size_wh: tuple[int, int], skeleton_only: bool, levels: Levels
) -> tuple[Player, str, int]:
    """Return the player's JSON, its packed numbers, and the row step; rows flagged as not drawn are omitted.

    The scene is level as in the shot of the middle row.
    """
    begin_s, end_s = (float(tracks.time_s.min()), float(tracks.time_s.max())) if len(tracks) else (0.0, 0.0)
    tracks = grounded(tracks[(tracks.flags & NOT_DRAWN) == 0], body, levels)
    level = levels.at(int(tracks.frame_idx[len(tracks) // 2]) if len(tracks) else 0)
    every = max(1, -(-len(tracks) // ROWS_MAX))
    pack = Pack()
    ids = np.unique(tracks.track_id)
    pelvis = tracks.transl + body.rest_joints_m[0]
    centre = np.median(pelvis, axis=0) if len(tracks) else np.array([0.0, 0.0, 5.0])
    around = np.linalg.norm(pelvis - centre, axis=1)
    data: Player = {
        "size": list(size_wh),
        "focal": float(np.median(tracks.focal_px)) if len(tracks) else float(np.hypot(*size_wh)),
        "begin": begin_s,
        "end": end_s,
        "centre": centre.tolist(),
        "reach": float(np.percentile(around, 75)) if len(tracks) else 3.0,
        "axes": level.axes.tolist(),
        "floor": level.floor_m,
        "parents": list(body.parents),
        "mesh": None if skeleton_only else _mesh(body, pack, tracks.betas.shape[1]),
        "tracks": [_track(tracks[tracks.track_id == i][::every], body, pack) for i in ids],
    }
    return data, pack.text(), every


def _track(rows: Tracks, body: Body, pack: Pack) -> dict[str, object]:
    betas = np.median(rows.betas, axis=0)
    return {
        "id": int(rows.track_id[0]),
        "color": "rgb({}, {}, {})".format(*track_color(int(rows.track_id[0]))),
        "betas": np.round(betas, 4).tolist(),
        "time": pack.add(rows.time_s, "f4"),
        "turns": pack.add(np.rint(joint_turns(rows) * 32767), "i2"),
        "transl": pack.add(rows.transl, "f4"),
        "rest": pack.add(body.rest_joints(betas[None].astype(np.float64))[0], "f4"),
    }


def _mesh(body: Body, pack: Pack, betas: int) -> dict[str, object]:
    """Return the rest mesh. Shape directions are quantized to bytes: error below 0.5 mm per unit of a beta."""
    vertices = body.rest_m.size // 3
    dirs = body.shape_dirs_m[:betas].reshape(betas, 3, vertices).transpose(0, 2, 1)
    scales = np.maximum(np.abs(dirs).max(axis=(1, 2)), 1e-9) / 127
    strongest, weights = body.influences
    whole = np.rint(weights * 255)
    whole[:, 0] += 255 - whole.sum(axis=1)  # must sum to 255: an error of 1 shifts a vertex by 1/255 of its distance
    return {
        "rest": pack.add(body.rest_m.reshape(3, -1).T, "f4"),
        "dirs": pack.add(np.rint(dirs / scales[:, None, None]), "i1"),
        "scales": scales.tolist(),
        "faces": pack.add(body.faces, "u2" if vertices < 65536 else "u4"),
        "joints": pack.add(strongest, "u1"),
        "weights": pack.add(whole, "u1"),
    }
