"""Data sets that an earlier version began go on with this one."""

from cliffvid.annotate.plan import Recipe, recipe
from cliffvid.annotate.split import counts_of
from cliffvid.annotate.task_runs import counts_facts
from cliffvid.pipeline.counts import Counts


def test_an_option_that_is_new_keeps_the_keys_of_data_sets(toy_options):
    now = recipe(toy_options())
    before = Recipe({name: value for name, value in now.settings.items() if name != "detect_every"}, now.models)
    assert before.key("a film") == now.key("a film") != recipe(toy_options(detect_every=2)).key("a film")


def test_segments_of_an_earlier_version_are_counted():
    now = counts_facts(Counts())
    now["flags"]["box_interpolated"], now["detect"]["frames"], now["detect"]["people"] = 5, 6, 7
    before = {**now, "flags": {"at_border": 1}, "detect": {"people": 2}}
    for parts in ([before, now], [now, before]):
        counts = counts_of(parts)
        assert (counts.flags["box_interpolated"], counts.flags["at_border"]) == (5, 1)
        assert (counts.detect.frames, counts.detect.people) == (6, 9)
