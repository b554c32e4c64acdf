"""Ground truth in the layouts of 3DPW, EMDB and AGORA, and tracks that err by known amounts."""

import pickle
import types
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from bodies import write_pickle
from cliffvid.models.body import load_body
from cliffvid.tables import Tracks
from cliffvid.tracks.write import WRITERS
from scenes import people

SIZE = (640, 480)
MATRIX = np.array([[700.0, 0, 321.0], [0, 704.0, 239.5], [0, 0, 1]])


class World:
    """People who move before a moving camera: the truth, in the world and in the camera."""

    def __init__(self, frames: int = 12, count: int = 2, seed: int = 0, body: str = "open-body") -> None:
        rng = np.random.default_rng(seed)
        self.frames, self.count, self.body = frames, count, load_body(body)
        turns = Rotation.from_rotvec(rng.normal(0, 0.02, (frames, 3)).cumsum(axis=0)) * Rotation.from_rotvec(
            [0.3, 0.5, 0.1]
        )
        self.cameras = np.tile(np.eye(4), (frames, 1, 1))
        self.cameras[:, :3, :3] = turns.as_matrix()
        self.cameras[:, :3, 3] = rng.normal(0, 0.05, (frames, 3)) + [0.1, 0.2, 0.3]
        self.people = []
        for k in range(count):
            start = np.array([1.3 * k - 0.65 * (count - 1), 0.2, 5.0 + 0.5 * k])
            turn, pose, betas, _ = people(start[None], seed + k)
            place = start + rng.normal(0, 0.02, (frames, 3)).cumsum(axis=0)
            in_world = (place - self.cameras[:, :3, 3])[:, None] @ self.cameras[:, :3, :3]
            root = (turns.inv() * Rotation.from_rotvec(turn[0])).as_rotvec()
            poses = np.hstack([root, pose + rng.normal(0, 0.02, (frames, 69)).cumsum(axis=0)])
            self.people.append({"poses": poses, "trans": in_world[:, 0], "betas": betas[0]})

    def world_joints(self, k: int) -> np.ndarray:
        p = self.people[k]
        betas = np.tile(p["betas"], (self.frames, 1))
        return self.body.joints(p["poses"][:, :3], p["poses"][:, 3:], betas, p["trans"])

    def world_vertices(self, k: int) -> np.ndarray:
        p = self.people[k]
        betas = np.tile(p["betas"], (self.frames, 1))
        return self.body.surface(p["poses"][:, :3], p["poses"][:, 3:], betas, p["trans"])[0].astype(float)

    def seen(self, points: np.ndarray) -> np.ndarray:
        """World points (F,J,3) in the camera, one by one."""
        return np.array([[c[:3, :3] @ p + c[:3, 3] for p in row] for c, row in zip(self.cameras, points, strict=True)])

    def pixels(self, k: int) -> np.ndarray:
        at = self.seen(self.world_joints(k)) @ MATRIX.T
        return at[..., :2] / at[..., 2:]

    def boxes(self, k: int) -> np.ndarray:
        at = self.pixels(k)
        return np.concatenate([at.min(axis=1), at.max(axis=1)], axis=1)


def pw3d(path: Path, world: World, name: str = "walk_00", valid=None) -> Path:
    """A sequenceFiles pickle as Python 2 wrote it: protocol 2, byte strings of text, lists of people."""
    valid = np.ones((world.count, world.frames), int) if valid is None else valid
    table = {
        "sequence": name,
        "genders": ["m", "f"][: world.count],
        "poses": [p["poses"] for p in world.people],
        "trans": [p["trans"] for p in world.people],
        "betas": [p["betas"] for p in world.people],
        "jointPositions": [world.world_joints(k).reshape(world.frames, 72) for k in range(world.count)],
        "cam_poses": world.cameras,
        "cam_intrinsics": MATRIX,
        "campose_valid": list(valid),
        "img_frame_ids": np.arange(world.frames),
        "poses2d": [np.zeros((world.frames, 3, 18))] * world.count,
    }
    path.write_bytes(pickle.dumps(table, protocol=2))
    return path


def emdb(path: Path, world: World, name: str = "P1_01_walk", good=None) -> Path:
    p = world.people[0]
    table = {
        "gender": "female",
        "name": name,
        "emdb1": True,
        "emdb2": False,
        "n_frames": world.frames,
        "good_frames_mask": np.ones(world.frames, bool) if good is None else good,
        "camera": {"intrinsics": MATRIX, "extrinsics": world.cameras, "width": SIZE[0], "height": SIZE[1]},
        "smpl": {
            "poses_root": p["poses"][:, :3],
            "poses_body": p["poses"][:, 3:],
            "trans": p["trans"],
            "betas": p["betas"],
        },
        "kp2d": world.pixels(0),
        "bboxes": {"bboxes": world.boxes(0), "invalid_idxs": np.zeros(0, np.int64)},
    }
    path.write_bytes(pickle.dumps(table, protocol=4))
    return path


def agora_columns(world: World, hidden=None) -> dict[str, list]:
    """AGORA's columns: a row is an image, each entry a list of people; the images are 3840 x 2160."""
    people, frames, focal = range(world.count), range(world.frames), 5333.3
    joints = [world.seen(world.world_joints(k)) for k in people]
    vertices = [world.seen(world.world_vertices(k)) for k in people]
    points = [focal * j[..., :2] / j[..., 2:] + [1920, 1080] for j in joints]
    hidden = np.zeros((world.frames, world.count)) if hidden is None else hidden
    return {
        "imgPath": [f"ag_val_{f:03d}.png" for f in frames],
        "gender": [["male"] * world.count for _ in frames],
        "isValid": [[True] * world.count for _ in frames],
        "occlusion": [list(hidden[f]) for f in frames],
        "gt_joints_2d": [[points[k][f] for k in people] for f in frames],
        "gt_joints_3d": [[joints[k][f].astype(np.float32) for k in people] for f in frames],
        "gt_verts": [[vertices[k][f].astype(np.float32) for k in people] for f in frames],
        "camX": [0.0 for _ in frames],
    }


def agora(path: Path, columns: dict[str, list]) -> Path:
    """The columns as pandas 1.1 pickled a DataFrame, in which AGORA was published: no pandas needed."""
    names = {
        "pandas.core.frame": "DataFrame",
        "pandas.core.internals.managers": "BlockManager",
        "pandas.core.indexes.base": "Index",
    }
    modules = {}
    for module, name in names.items():
        modules[module] = types.ModuleType(module)
        setattr(modules[module], name, type(name, (), {"__module__": module}))
    modules["pandas.core.indexes.base"]._new_Index = _new_Index
    _new_Index.__module__ = "pandas.core.indexes.base"
    for part in ("pandas", "pandas.core", "pandas.core.indexes", "pandas.core.internals"):
        modules[part] = types.ModuleType(part)
    frame, manager = modules["pandas.core.frame"].DataFrame(), modules["pandas.core.internals.managers"].BlockManager()
    index = modules["pandas.core.indexes.base"].Index
    index.__reduce__ = lambda self: (_new_Index, (index, {"data": self.data, "name": None}))
    texts = [name for name in columns if isinstance(columns[name][0], str | list)]
    values = np.empty((len(texts), len(columns["imgPath"])), object)
    for i, name in enumerate(texts):
        values[i, :] = [None] * values.shape[1]
        for j, value in enumerate(columns[name]):
            values[i, j] = value
    numbers = [name for name in columns if name not in texts]
    order, axes = list(columns), []
    for labels in (np.array(order, object), np.arange(values.shape[1])):
        axes.append(index())
        axes[-1].data = labels
    blocks = [
        {"values": values, "mgr_locs": np.array([order.index(name) for name in texts])},
        {"values": np.array([columns[name] for name in numbers]), "mgr_locs": slice(len(order) - 1, len(order), 1)},
    ]
    state = (axes, [b["values"] for b in blocks], [], {"0.14.1": {"axes": axes, "blocks": blocks}})
    type(manager).__reduce__ = lambda self: (type(manager), (), state)
    frame.__dict__.update({"_mgr": manager, "_typ": "dataframe", "_metadata": []})
    return write_pickle(path, frame, modules, 4)


def _new_Index(kind, given):
    raise AssertionError("only its name is pickled")


def found_tracks(
    path: Path, world: World, boxes, skip=(), false_positives=(), size=SIZE, seed=5, body="open-body", **meta
) -> Path:
    """Tracks of the world's people with noise in pose, shape and place; ``skip``: (frame, person) that were missed.

    ``boxes``: person -> (F,4); ``false_positives``: (frame, box) of nobody.
    """
    rng = np.random.default_rng(seed)
    rows = []
    turns = Rotation.from_matrix(world.cameras[:, :3, :3])
    for f in range(world.frames):
        for k in range(world.count):
            p = world.people[k]
            if (f, k) in skip:
                continue
            root = (turns[f] * Rotation.from_rotvec(p["poses"][f, :3])).as_rotvec() + rng.normal(0, 0.05, 3)
            place = world.seen(p["trans"][:, None])[f, 0] + rng.normal(0, 0.1, 3)
            pose = p["poses"][f, 3:] + rng.normal(0, 0.1, 69)
            rows.append(
                (f, k + 1, boxes[k][f] + rng.normal(0, 2, 4), root, pose, p["betas"] + rng.normal(0, 0.3, 10), place)
            )
        for frame, box in false_positives:
            if frame == f:
                rows.append((f, 99, box, np.zeros(3), np.zeros(69), np.zeros(10), np.ones(3)))
    like = Tracks.empty(pose=69, shape=10)
    columns = {n: np.zeros((len(rows), *c.shape[1:]), c.dtype) for n, c in like.columns().items()}
    names = ("frame_idx", "track_id", "bbox_xyxy", "global_orient", "body_pose", "betas", "transl")
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        columns[name][:] = np.array(values)
    columns["time_s"] = columns["frame_idx"] / 30.0
    columns["focal_px"][:] = np.hypot(*size)
    columns["det_score"][:] = 0.9
    with WRITERS["npz"](path, like) as writer:
        writer.write(Tracks(**columns))
        video = {"name": "walk", "codec": "jpg", "width_px": size[0], "height_px": size[1]}
        video |= {"files": meta.pop("files")} if "files" in meta else {}
        writer.finish({"video": video, "body": {"name": body}, "settings": meta})
    return path
