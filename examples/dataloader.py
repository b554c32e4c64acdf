"""Load crops of people with their poses into PyTorch: dataloader.py video.mp4 video.parquet."""

import sys
from collections.abc import Iterator

import av
import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from cliffvid import read_tracks

SIDE_PX = 224


class Crops(IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """The people of a video: crops (3, 224, 224) from 0 to 1, and their poses (72,) as axis-angles."""

    def __init__(self, video: str, tracks: str) -> None:
        self.video, self.tracks = video, read_tracks(tracks)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        with av.open(self.video) as container:
            for index, frame in enumerate(container.decode(video=0)):
                image = frame.to_ndarray(format="rgb24")
                for row in np.flatnonzero(self.tracks.frame_idx == index).tolist():
                    x0, y0, x1, y1 = self.tracks.bbox_xyxy[row].round().astype(int).clip(0).tolist()
                    crop = cv2.resize(image[y0 : y1 + 1, x0 : x1 + 1], (SIDE_PX, SIDE_PX))
                    pose = np.concatenate([self.tracks.global_orient[row], self.tracks.body_pose[row]])
                    yield torch.from_numpy(crop).permute(2, 0, 1) / 255, torch.from_numpy(pose)


for crops, poses in DataLoader(Crops(sys.argv[1], sys.argv[2]), batch_size=16):
    print(tuple(crops.shape), tuple(poses.shape))
