"""Print the first rows of a tracks file, and how long each person was seen."""

import sys

import numpy as np

from cliffvid import read_tracks

tracks = read_tracks(sys.argv[1])
print(f"{len(tracks)} rows, body {tracks.body.name}, made by {tracks.meta.get('software')}")
print(" frame  time_s  track  score  box (x0 y0 x1 y1)            translation (m)")
for i in range(min(8, len(tracks))):
    box = " ".join(f"{v:6.1f}" for v in tracks.bbox_xyxy[i])
    transl = " ".join(f"{v:6.2f}" for v in tracks.transl[i])
    key = f"{tracks.frame_idx[i]:6d}  {tracks.time_s[i]:6.2f}  {tracks.track_id[i]:5d}  {tracks.det_score[i]:5.2f}"
    print(f"{key}  {box}  {transl}")
ids, rows = np.unique(tracks.track_id, return_counts=True)
print("rows per track:", "  ".join(f"{i}: {n}" for i, n in zip(ids, rows, strict=True)))
