"""Compute the matrices that convert YUV to RGB."""

from functools import cache

import numpy as np

from ...tables import Float64

# Weights of red and blue in the luma: ITU-R BT.601, BT.709 and BT.2020.
WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
BLACK = {False: 16, True: 0}  # luma of black, by whether the range is full
GREY = 128  # chroma of grey


@cache
def to_rgb(matrix: str, full_range: bool) -> Float64:
    """Return the matrix (3,4) from Y, U, V and 1 to R, G and B, all 0 to 255 (ITU-T H.273, equations 35 to 39)."""
    red, blue = WEIGHTS[matrix]
    green = 1 - red - blue
    luma, chroma = (1, 1) if full_range else (255 / 219, 255 / 224)
    r, b = 2 * (1 - red) * chroma, 2 * (1 - blue) * chroma
    rows = np.array([[luma, 0, r], [luma, -b * blue / green, -r * red / green], [luma, b, 0]])
    return np.column_stack([rows, -rows @ [BLACK[full_range], GREY, GREY]])
