"""Write the motion of each person for GMR, which retargets it to robots: gmr_input.py video.parquet folder/.

GMR's loader wants AMASS's keys of SMPL-X, z up, and plays what has fewer than 30 frames a second too fast.
"""

import sys

import numpy as np

from cliffvid import convert

report = convert(sys.argv[1], sys.argv[2], to="amass", layout="smplx", fps=60)
print(report.level)
for path in report.files:
    with np.load(path) as motion:
        frames = len(motion["trans"])
        assert motion["root_orient"].shape == (frames, 3) and motion["pose_body"].shape == (frames, 63)
        print(f"{path}: {frames} frames of {motion['mocap_frame_rate']}/s, betas {motion['betas'].shape}")
