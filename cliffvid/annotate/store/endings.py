"""Make the journal's records of inputs that have ended: finished, or given up."""

import time

from .records import Ended, FailedLine, Result


def finished(video: str, key: str, attempts: int, result: Result, job: int) -> Ended:
    """Return the record of a finished input."""
    damaged = result["counts"]["decode"]["damaged"]
    return {
        "video": video,
        "key": key,
        "status": "partial" if damaged else "ok" if result["rows"] else "empty",
        "message": "; ".join(result["warnings"]) or None,
        "attempts": attempts,
        "rows": result["rows"],
        "counts": result["counts"],
        "seconds": result["seconds"],
        "codec": result["codec"],
        "width_px": result["width_px"],
        "height_px": result["height_px"],
        "rate": result["rate"],
        "finished": time.time(),
        "job": job,
    }


def given_up(video: str, key: str, attempts: int, error: str, message: str, job: int) -> FailedLine:
    """Return the record of an input that has failed."""
    return {
        "type": "failed",
        "video": video,
        "key": key,
        "status": "failed",
        "error": error,
        "message": message,
        "attempts": attempts,
        "finished": time.time(),
        "job": job,
    }
