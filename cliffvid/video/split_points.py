"""Where a long video can be cut so that its pieces, decoded apart, are together the frames of the whole."""

from .reader import Video


def cuts(video: Video, every_s: float) -> tuple[list[float], int]:
    """``(times, frames)``: times of key frames, at least ``every_s`` apart, at which decoding was tried and is exact.

    ``frames`` is how many the whole holds. No times: the video refuses to be cut, because its times are no order
    (missing, doubled, jumping back) or its key frames depend on frames before them (intra refresh).
    """
    table = video.index()
    if table is None:
        return [], 0
    begin, tick_s = table.ticks[0], video.info.time_base
    places = (table.at(pts) for pts in table.keys)
    seconds = [float((table.ticks[i] - begin) * tick_s) for i in places if i is not None and i < len(table.ticks)]
    times: list[float] = []
    last_s = float((table.ticks[-1] - begin) * tick_s)
    for time_s in seconds:
        due = time_s - (times[-1] if times else 0) >= every_s and last_s - time_s >= every_s / 2
        if due and video.seekable(time_s):
            times.append(time_s)
    return times, len(table.pts)
