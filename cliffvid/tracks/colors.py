"""Assign a display colour to each track."""

import colorsys


def track_color(track_id: int) -> tuple[int, int, int]:
    """Return a fixed, muted RGB colour for a track id; neighbouring ids get hues that are far apart."""
    lightness = (0.60, 0.76)[track_id % 2]
    red, green, blue = colorsys.hls_to_rgb(track_id * 0.61803399 % 1, lightness, 0.5)
    return round(255 * red), round(255 * green), round(255 * blue)
