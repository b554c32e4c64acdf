from dataclasses import fields

import pytest

from cliffvid.pipeline.report import Report


@pytest.mark.parametrize(
    ("busy_s", "said"),
    [
        ({"decode": 9.0, "detect": 3.0}, "decoding bounds"),
        ({"detect": 9.5, "regress": 0.5}, "the detector bounds"),
        ({"detect": 4.8, "regress": 5.0}, "the two networks bound"),
        ({"detect": 2.0, "regress": 2.0, "decode": 5.0}, "no stage was at work all the time"),
    ],
)
def test_one_sentence_tells_what_bounds_a_run(busy_s, said):
    idle = dict.fromkeys(("decode", "detect", "crop", "regress", "track and write"), 0.1)
    given = {field.name: None for field in fields(Report)} | {"seconds": 10.0, "busy_s": idle | busy_s}
    given["batch_sizes"] = {"detect": 4, "regress": 8}
    assert Report(**given | {"frames": 5}).advice.startswith(said)
    assert Report(**given | {"frames": 0}).advice.startswith("nothing bounds this run")
    assert Report(**given | {"frames": 4}).advice.startswith("all frames went in one batch")
