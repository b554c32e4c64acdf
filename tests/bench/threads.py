"""How the decoder and the networks share the cores: what a run takes by default, beside what else could be chosen."""

import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from itertools import product
from pathlib import Path

from cliffvid.machine import usable_cores
from cliffvid.options import Options
from cliffvid.pipeline.networks import Models, open_models
from cliffvid.pipeline.process import process
from cliffvid.video.open import open_source

from .clips import clip, ffmpegs_threads, sha256
from .fakes import constant_models
from .harness import Case, Result, take_turns
from .shapes import EXAMPLE


def threads(repeats: int) -> Result:
    """Runs by the decoder's threads and the networks': one that the host bounds, and one that the open networks do."""
    cores, film, repeats = usable_cores(), clip(), min(repeats, 3)  # a turn takes a minute
    own = ffmpegs_threads(film)
    decoders = sorted({1, cores, own, 2 * cores})
    result = Result("threads", "frame", {"repeats": repeats, "FFmpeg's own choice": own})
    models = {"": constant_models(3)}
    _run(result, "networks that cost nothing", film, Options(overwrite=True, pixels="planes"), decoders, models)
    if EXAMPLE.is_file():
        with ExitStack() as stack:
            models = {
                f", each network {words}": stack.enter_context(open_models(Options(threads=number)))
                for words, number in (("all cores", 0), ("1", 1))
            }
            _run(result, "the open networks", EXAMPLE, Options(overwrite=True), decoders, models)
    return result


def _run(
    result: Result, name: str, film: Path, options: Options, decoders: Iterable[int], models: dict[str, Models]
) -> None:
    """Adds what a film takes by default, with the first of the models, and with each number of decoder threads."""
    with tempfile.TemporaryDirectory() as folder, open_source(film) as source:
        out, frames = Path(folder) / "a.parquet", source.info.frames_claimed

        def work(number: int, given: Models) -> Callable:
            return lambda: process(film, out, replace(options, threads=number), models=given)

        cases = [Case(f"{name}: default", work(0, next(iter(models.values()))), frames)]
        for number, (which, given) in product(decoders, models.items()):
            cases.append(Case(f"{name}: decoder {number}{which}", work(number, given), frames))
        take_turns(cases, result.settings["repeats"])
    result.rows += [case.facts() for case in cases]
    result.clips[film.name] = sha256(film)
    ratio = f"{name}: the default's time, in that of the best"
    result.ratios[ratio] = cases[0].median_s / min(case.median_s for case in cases)
    result.goals[ratio] = "<= 1.05"
