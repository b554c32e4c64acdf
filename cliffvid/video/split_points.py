"""Find where a long video can be split so that its segments, decoded separately, give the frames of the whole."""

from .reader import Video


def cuts(video: Video, every_s: float) -> tuple[list[float], int]:
    """Return ``(times, frames)``: times of key frames, at least ``every_s`` apart, where a trial decode was exact.

    ``frames`` is the number in the whole video, 0 if its times are missing, repeated or jump back. Such a video gets no
    times, nor does one whose key frames depend on earlier frames (intra refresh).
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
