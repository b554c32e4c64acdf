"""Frames of a picture that is known: in RGB, and as decoders have them, planes of brightness and colour."""

from dataclasses import replace

import av
import numpy as np

from cliffvid import Options
from cliffvid.rules import Letterbox
from cliffvid.tables import image_column
from cliffvid.video.color import Display
from cliffvid.video.images.gpu import GpuImage
from cliffvid.video.images.orientation import UPRIGHT
from cliffvid.video.images.rgb import RgbImage
from cliffvid.video.images.yuv import YuvImage


def smooth(width=160, height=96):
    """A picture without detail, so that colours lose nothing by being stored in half the resolution."""
    y, x = np.mgrid[:height, :width]
    channels = 40 + x * 150 // width, 60 + y * 140 // height, 200 - (x + y) * 120 // (width + height)
    return np.stack(channels, axis=-1).astype(np.uint8)


def rgb_images(pixels):
    """Images (N,H,W,3) as a column of frames in RGB."""
    return image_column([RgbImage(image) for image in pixels])


def displayed(images):
    """Images on a device (N,h,w,3) in RGB as displayed, copied from there."""
    width, height = images[0].size_wh
    whole = GpuImage.letterboxed(images, Letterbox(width, height, "linear", 0))
    return images[0].block.device.make(whole, "uint8").numpy()


def stored(image, orientation=UPRIGHT, matrix="bt709", full_range=False) -> YuvImage:
    """The image as YuvImages, by swscale."""
    color = {"bt601": 5, "bt709": 1, "bt2020": 9}[matrix]
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace=color, dst_color_range=2 if full_range else 1)
    frame.colorspace, frame.color_range = color, 2 if full_range else 1
    return replace(Display(Options()).planes(frame, None), orientation=orientation)
