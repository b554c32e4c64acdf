"""Choose the fastest precision that earlier measurements on this machine found accurate enough."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from ..machine import on_gpu, plain_device, processor
from ..options import Options
from .gpu_precision import bound_on_gpu, measured_on_gpu
from .manifest import MODEL_FILES, Manifest, Measured
from .session import DEFAULT

LEAST_PERSONS = 50  # fewer people cannot show a rate of one in two hundred


@dataclass(frozen=True)
class Choice:
    """The choice of ``--precision auto`` for one network, and the reason."""

    backend: str
    precision: str
    words: str


def runtime_version(backend: str) -> str:
    """Return the version of the installed package of a backend."""
    for name in (backend, f"{backend}-gpu", f"{backend}-rtx"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"


def choose(manifest: Manifest, options: Options) -> Choice:
    """Return the fastest backend and precision measured here within the bounds of Options; fp32 if there is none.

    What `models quality` measured on a video comes first. Without it, a GPU is measured on the model's own samples.
    """
    exact = DEFAULT if options.backend == "auto" else options.backend
    known = [entry for entry in manifest.quality if _counts(entry, manifest, options)]
    if not any(entry["precision"] != "fp32" for entry in known):
        if exact == DEFAULT and on_gpu(options.device, exact) and (found := measured_here(manifest, options)):
            return found
        return Choice(
            exact,
            "fp32",
            f"{manifest.name}: fp32, since nothing else was measured on this machine; "
            f"`cliffvid models quality {manifest.name} VIDEO` does",
        )
    good = [entry for entry in known if not violations(entry, options)]
    if not good:
        reasons = "; ".join(f"{e['precision']} by {e['backend']}: {', '.join(violations(e, options))}" for e in known)
        return Choice(exact, "fp32", f"{manifest.name}: fp32, since nothing else is good enough: {reasons}")
    best = max(good, key=lambda entry: entry["items_per_s"])
    slow = next((entry for entry in known if (entry["backend"], entry["precision"]) == (exact, "fp32")), best)
    words = (
        f"{manifest.name}: {best['precision']} by {best['backend']}, {best['items_per_s'] / slow['items_per_s']:.2g} "
        f"times as fast as fp32 by {slow['backend']}; {describe_measured(best)}, on {best['clip']}"
    )
    for entry in known:
        if entry["items_per_s"] > best["items_per_s"]:
            words += f"; not {entry['precision']} by {entry['backend']}: {', '.join(violations(entry, options))}"
    return Choice(best["backend"], best["precision"], words)


def measured_here(manifest: Manifest, options: Options) -> Choice | None:
    """Return the fastest precision that holds its bound on this GPU; None if the model has no samples to tell."""
    found = measured_on_gpu(manifest, options, runtime_version(DEFAULT))
    good = {precision: entry for precision, entry in found.items() if not entry["fault"]}
    if not good:
        return None
    precision = max(good, key=lambda name: good[name]["items_per_s"])
    best, bound = good[precision], bound_on_gpu(manifest, precision)
    words = f"{manifest.name}: {precision}, measured on this GPU: {best['items_per_s']:.0f} a second"
    words += f", off by {best['error']:.2g} on the model's samples, bound {bound:.2g}"
    for name, entry in found.items():
        if name != precision:
            words += f"; {name}: " + (entry["fault"] or f"{entry['items_per_s']:.0f} a second")
    return Choice(DEFAULT, precision, words)


def _counts(entry: Measured, manifest: Manifest, options: Options) -> bool:
    """Return whether an earlier measurement applies to what would run now."""
    return (
        options.backend in ("auto", entry["backend"])
        and (options.device == "auto" or plain_device(options.device) == entry["device"])
        and entry["network"] == manifest.files.get(MODEL_FILES[entry["precision"]])
        and entry["machine"] == processor()
        and entry["version"] == runtime_version(entry["backend"])
    )


def violations(entry: Measured, options: Options) -> list[str]:
    """Return the bounds of Options that a precision exceeds, in words."""
    if entry["precision"] == "fp32":
        return []
    median, p99 = entry.get("rotation_median_deg", 0.0), entry.get("rotation_p99_deg", 0.0)
    bounds = (
        (median, options.gate_rotation_median_deg, "rotations off by {:.2g} degrees (median)"),
        (p99, options.gate_rotation_p99_deg, "rotations off by {:.2g} degrees (99th percentile)"),
        (entry["persons_changed_percent"], options.gate_persons_percent, "{:.2g} % of people changed"),
    )
    exceeded = [f"judged on {entry['persons']} people alone"] if entry["persons"] < LEAST_PERSONS else []
    for value, bound, words in bounds:
        if not value <= bound:
            exceeded.append(words.format(value) + f", over {bound:g}")
    return exceeded


def describe_measured(entry: Measured) -> str:
    """Return what a precision changes, in words."""
    people = f"of {entry['persons']} people {entry['persons_changed_percent']:.2g} % changed"
    if "rotation_p99_deg" not in entry:
        return f"{people}, boxes moved by {entry['box_shift_p99_percent']:.2g} % of their side (99th percentile)"
    median, p99 = entry["rotation_median_deg"], entry["rotation_p99_deg"]
    return f"{people}, rotations moved by {median:.2g} degrees, {p99:.2g} at the 99th percentile"
