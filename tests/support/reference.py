"""Slow truths, written for reading: plain loops in float64."""

import numpy as np


def iou(a, b, offset_px=0.0) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset_px
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset_px
    inter = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0] + offset_px) * (box[3] - box[1] + offset_px) for box in (a, b)]
    return inter / (sum(areas) - inter)


def suppress(boxes, scores, iou_max, offset_px=0.0) -> list[int]:
    """Indices kept, best first: each box stays unless a better one that stayed overlaps it too much."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(iou(boxes[i], boxes[k], offset_px) < iou_max for k in kept):
            kept.append(i)
    return kept


def patch(image, corners) -> np.ndarray:
    """The picture between whole corners, black outside."""
    x0, y0, x1, y1 = (int(v) for v in corners)
    cut = np.zeros((y1 - y0, x1 - x0, 3))
    for y in range(y0, y1):
        for x in range(x0, x1):
            if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
                cut[y - y0, x - x0] = image[y, x]
    return cut


def bilinear_crop(image, corners, size_wh) -> np.ndarray:
    """The picture between the corners, each output pixel from the four around its centre."""
    cut = patch(image, corners)
    out = np.zeros((size_wh[1], size_wh[0], 3))
    for v in range(size_wh[1]):
        for u in range(size_wh[0]):
            x = np.clip((u + 0.5) * cut.shape[1] / size_wh[0] - 0.5, 0, cut.shape[1] - 1)
            y = np.clip((v + 0.5) * cut.shape[0] / size_wh[1] - 0.5, 0, cut.shape[0] - 1)
            i, j = int(y), int(x)
            i2, j2 = min(i + 1, cut.shape[0] - 1), min(j + 1, cut.shape[1] - 1)
            top = cut[i, j] * (1 - (x - j)) + cut[i, j2] * (x - j)
            low = cut[i2, j] * (1 - (x - j)) + cut[i2, j2] * (x - j)
            out[v, u] = top * (1 - (y - i)) + low * (y - i)
    return out


def turned(vector, rotvec) -> np.ndarray:
    """A vector turned by an axis-angle rotation: Rodrigues' formula on vectors."""
    angle = np.linalg.norm(rotvec)
    if angle == 0:
        return np.asarray(vector, float)
    axis = rotvec / angle
    return (
        vector * np.cos(angle) + np.cross(axis, vector) * np.sin(angle) + axis * (axis @ vector) * (1 - np.cos(angle))
    )


def posed_joints(rest, parents, rotvecs, transl) -> np.ndarray:
    """Joints of one posed body: every bone is turned by each of its ancestors, nearest first."""
    joints = []
    for j in range(len(rest)):
        point, bone, at = np.array(rest[0], float), np.zeros(3), j
        while parents[at] >= 0:
            bone = turned(bone + rest[at] - rest[parents[at]], rotvecs[parents[at]])
            at = parents[at]
        joints.append(point + bone + transl)
    return np.array(joints)


def depth_map(vertices, faces, focal_px, size_wh) -> np.ndarray:
    """Depth (H,W) of a mesh at each pixel's centre, inf where it is not: triangle by triangle, no graphics library."""
    width, height = size_wh
    depth = np.full((height, width), np.inf)
    v = np.asarray(vertices, float)
    u = v[:, :2] / v[:, 2:] * focal_px + np.array(size_wh) / 2
    for a, b, c in faces:
        corners = u[[a, b, c]]
        x0, y0 = np.clip(np.ceil(corners.min(axis=0) - 0.5), 0, size_wh).astype(int)
        x1, y1 = np.clip(np.floor(corners.max(axis=0) - 0.5) + 1, 0, size_wh).astype(int)
        if x0 >= x1 or y0 >= y1:
            continue
        x, y = np.arange(x0, x1) + 0.5, np.arange(y0, y1)[:, None] + 0.5
        (ax, ay), (bx, by), (cx, cy) = corners
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0:
            continue
        wa = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
        wb = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
        wc = 1 - wa - wb
        inside = (wa >= 0) & (wb >= 0) & (wc >= 0)
        z = 1 / (wa / v[a, 2] + wb / v[b, 2] + wc / v[c, 2])
        part = depth[y0:y1, x0:x1]
        part[inside] = np.minimum(part, z)[inside]
    return depth


def mask_iou(a, b) -> float:
    return float((a & b).sum() / (a | b).sum())


def nearest_similar(found, true) -> np.ndarray:
    """Points (J,3) turned, scaled and moved onto the true ones: scipy's rotation, then the best scale."""
    from scipy.spatial.transform import Rotation

    a, b = found - found.mean(axis=0), true - true.mean(axis=0)
    turned_a = Rotation.align_vectors(b, a)[0].apply(a)
    return turned_a * (turned_a * b).sum() / (a * a).sum() + true.mean(axis=0)


def best_pairs(true_boxes, boxes, iou_min) -> list[tuple[int, int]]:
    """Of all ways to pair two lists of boxes, none under ``iou_min``, that with the largest total of iou - iou_min."""
    from itertools import permutations

    best, kept = -1.0, []
    slots = [*range(len(boxes)), *[None] * len(true_boxes)]
    for chosen in set(permutations(slots, len(true_boxes))):
        pairs = [(t, c) for t, c in enumerate(chosen) if c is not None and iou(true_boxes[t], boxes[c]) >= iou_min]
        worth = sum(iou(true_boxes[t], boxes[c]) - iou_min for t, c in pairs)
        if worth > best:
            best, kept = worth, pairs
    return kept


def body_errors_mm(found, true, root=(0,)) -> tuple[np.ndarray, float]:
    """Each joint's distance with the roots at 0, and the mean distance after the best similarity; millimetres."""
    a, b = found - found[list(root)].mean(axis=0), true - true[list(root)].mean(axis=0)
    near = nearest_similar(a, b)
    plain = np.array([np.sqrt(((p - q) ** 2).sum()) for p, q in zip(a, b, strict=True)])
    aligned = np.mean([np.sqrt(((p - q) ** 2).sum()) for p, q in zip(near, b, strict=True)])
    return 1000 * plain, 1000 * aligned


def identity_figures(frame_idx, who, ids) -> tuple[float, int]:
    """IDF1 (Ristani 2016) and identity switches (CLEAR MOT, Bernardin 2008) of ids whose true persons are known."""
    from scipy.optimize import linear_sum_assignment

    people, tracks = sorted(set(who.tolist())), sorted(set(ids.tolist()))
    shared = np.array([[np.sum((who == p) & (ids == t)) for t in tracks] for p in people])
    both = shared[linear_sum_assignment(-shared)].sum()
    switches = 0
    for person in people:
        mine = ids[who == person][np.argsort(frame_idx[who == person], kind="stable")]
        switches += int((mine[1:] != mine[:-1]).sum())
    return 2 * both / (len(who) + len(ids)), switches
