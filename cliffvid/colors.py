"""The colour of a track."""

import colorsys


def track_color(track_id: int) -> tuple[int, int, int]:
    """A steady, muted RGB colour; neighbouring ids lie far apart on the colour circle."""
    lightness = (0.60, 0.76)[track_id % 2]
    red, green, blue = colorsys.hls_to_rgb(track_id * 0.61803399 % 1, lightness, 0.5)
    return round(255 * red), round(255 * green), round(255 * blue)
