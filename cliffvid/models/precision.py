"""The precision that runs fastest here and is still good, by what was measured before."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from ..machine import plain_device, processor
from ..options import Options
from .manifest import MODEL_FILES, Manifest, Measured
from .session import DEFAULT

LEAST_PERSONS = 50  # fewer tell nothing about one in two hundred


@dataclass(frozen=True)
class Choice:
    """What ``--precision auto`` takes for one network, and why."""

    backend: str
    precision: str
    words: str


def runtime_version(backend: str) -> str:
    """The version of the installed package of a backend."""
    for name in (backend, f"{backend}-gpu", f"{backend}-rtx"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"


def choose(manifest: Manifest, options: Options) -> Choice:
    """The fastest backend and precision that was measured here and is within the bounds of Options; float32 if none."""
    exact = DEFAULT if options.backend == "auto" else options.backend
    known = [entry for entry in manifest.quality if _counts(entry, manifest, options)]
    if not any(entry["precision"] != "fp32" for entry in known):
        return Choice(
            exact,
            "fp32",
            f"{manifest.name}: fp32, since nothing else was measured on this machine; "
            f"`cliffvid models quality {manifest.name} VIDEO` does",
        )
    good = [entry for entry in known if not faults(entry, options)]
    if not good:
        told_all = "; ".join(f"{e['precision']} by {e['backend']}: {', '.join(faults(e, options))}" for e in known)
        return Choice(exact, "fp32", f"{manifest.name}: fp32, since nothing else is good enough: {told_all}")
    best = max(good, key=lambda entry: entry["items_per_s"])
    slow = next((entry for entry in known if (entry["backend"], entry["precision"]) == (exact, "fp32")), best)
    words = (
        f"{manifest.name}: {best['precision']} by {best['backend']}, {best['items_per_s'] / slow['items_per_s']:.2g} "
        f"times as fast as fp32 by {slow['backend']}; {told(best)}, on {best['clip']}"
    )
    for entry in known:
        if entry["items_per_s"] > best["items_per_s"]:
            words += f"; not {entry['precision']} by {entry['backend']}: {', '.join(faults(entry, options))}"
    return Choice(best["backend"], best["precision"], words)


def _counts(entry: Measured, manifest: Manifest, options: Options) -> bool:
    """Whether something that was measured once tells of what would run now."""
    return (
        options.backend in ("auto", entry["backend"])
        and (options.device == "auto" or plain_device(options.device) == entry["device"])
        and entry["network"] == manifest.files.get(MODEL_FILES[entry["precision"]])
        and entry["machine"] == processor()
        and entry["version"] == runtime_version(entry["backend"])
    )


def faults(entry: Measured, options: Options) -> list[str]:
    """In what the figures of a precision are beyond the bounds of Options."""
    if entry["precision"] == "fp32":
        return []
    median, p99 = entry.get("rotation_median_deg", 0.0), entry.get("rotation_p99_deg", 0.0)
    bounds = (
        (median, options.gate_rotation_median_deg, "rotations off by {:.2g} degrees (median)"),
        (p99, options.gate_rotation_p99_deg, "rotations off by {:.2g} degrees (99th percentile)"),
        (entry["persons_changed_percent"], options.gate_persons_percent, "{:.2g} % of people changed"),
    )
    told = [f"judged on {entry['persons']} people alone"] if entry["persons"] < LEAST_PERSONS else []
    for value, bound, words in bounds:
        if not value <= bound:
            told.append(words.format(value) + f", over {bound:g}")
    return told


def told(entry: Measured) -> str:
    """What a precision changes, in words."""
    people = f"of {entry['persons']} people {entry['persons_changed_percent']:.2g} % changed"
    if "rotation_p99_deg" not in entry:
        return f"{people}, boxes moved by {entry['box_shift_p99_percent']:.2g} % of their side (99th percentile)"
    median, p99 = entry["rotation_median_deg"], entry["rotation_p99_deg"]
    return f"{people}, rotations moved by {median:.2g} degrees, {p99:.2g} at the 99th percentile"
