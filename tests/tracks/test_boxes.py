"""Boxes from files of each format, and what is said of files that cannot be used."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cliffvid.errors import InputError
from cliffvid.tracks.boxes import check_fit, check_frames, read_boxes

# two people in frames 0 and 2; frames unsorted, and the better score of a frame comes second
ROWS = [(2, 10, 20, 40.5, 80, 0.5, 7), (2, 50, 20, 90, 80, 0.75, 3), (0, 11, 21, 41, 81, 1.0, 7)]
FILES = ("a.png", "b.png", "c.png")


def csv(rows=ROWS, header="frame_idx,x0,y0,x1,y1,score,track_id"):
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)])


def coco(rows=ROWS, **more):
    found = [
        {"image_id": f, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": s, "track_id": t, "category_id": 1, "mask": {}}
        for f, x0, y0, x1, y1, s, t in rows
    ]
    return json.dumps(found if not more else {"annotations": found, **more})


def columns(rows=ROWS):
    names = "frame_idx", "x0", "y0", "x1", "y1", "score", "track_id"
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def written(tmp_path, kind):
    path = tmp_path / f"b.{kind.partition(' ')[0]}"
    match kind:
        case "csv":
            path.write_text(csv())
        case "csv of ours":
            rows = [(*row, "x") for row in ROWS]
            path.write_text(csv(rows, "frame_idx,bbox_x0_px,bbox_y0_px,bbox_x1_px,bbox_y1_px,det_score,track_id,pts"))
        case "parquet":
            pq.write_table(pa.table(columns()), path)
        case "txt":
            mot = [(f + 1, t, x0, y0, x1 - x0, y1 - y0, s, -1, -1, -1) for f, x0, y0, x1, y1, s, t in ROWS]
            path.write_text("\n".join(",".join(map(str, row)) for row in mot))
        case "json":
            path.write_text(coco())
        case "json of images":  # in another order than the input's
            images = [{"id": n, "file_name": f"images/{FILES[n]}", "width": 100, "height": 90} for n in (2, 0, 1)]
            path.write_text(coco(images=images))
    return path


@pytest.mark.parametrize("kind", ["csv", "csv of ours", "parquet", "txt", "json", "json of images"])
def test_every_format_says_the_same(kind, tmp_path):
    boxes, size_wh = read_boxes(written(tmp_path, kind), FILES)
    np.testing.assert_array_equal(boxes.frame_idx, [0, 2, 2])
    np.testing.assert_allclose(boxes.bbox_xyxy, [[11, 21, 41, 81], [50, 20, 90, 80], [10, 20, 40.5, 80]])
    np.testing.assert_array_equal(boxes.det_score, np.float32([1, 0.75, 0.5]))
    np.testing.assert_array_equal(boxes.track_id, [7, 3, 7])
    assert size_wh == ((100, 90) if kind == "json of images" else None)


def test_scores_and_identities_may_be_missing(tmp_path):
    plain = tmp_path / "b.csv"
    plain.write_text(csv([row[:5] for row in ROWS], "frame_idx,x0,y0,x1,y1"))
    detections = tmp_path / "det.txt"
    detections.write_text("1,-1,10,20,30,60,-1,-1,-1,-1\n3,-1,10,20,30,60,-1,-1,-1,-1\n")
    nobody = tmp_path / "n.csv"
    nobody.write_text("frame_idx,x0,y0,x1,y1\n")
    ignored = tmp_path / "gt.txt"
    ignored.write_text("1,-1,10,20,30,60,1\n1,-1,10,20,30,60,0\n")
    for path, count in ((plain, 3), (detections, 2), (nobody, 0), (ignored, 1)):
        boxes = read_boxes(path).boxes
        assert boxes.track_id is None and boxes.det_score.tolist() == [1.0] * count


def test_other_categories_than_people_are_left_out(tmp_path):
    path = tmp_path / "b.json"
    cars = json.loads(coco())
    cars[0]["category_id"] = 3
    path.write_text(json.dumps(cars))
    assert len(read_boxes(path).boxes) == 2
    images, categories = [{"id": n} for n in range(3)], [{"id": 3, "name": "person"}, {"id": 1, "name": "dog"}]
    path.write_text(json.dumps({"annotations": cars, "images": images, "categories": categories}))
    assert len(read_boxes(path).boxes) == 1


def changed(place, value, row=1):
    rows = [list(each) for each in ROWS]
    rows[row][place] = value
    return csv(rows)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", changed(1, "nan"), "row 2 holds nan, 20, 90, 80"),
        ("a.csv", changed(3, "inf"), "row 2"),
        ("a.csv", changed(3, 1e30), "in pixels"),
        ("a.csv", changed(3, 50), "x0 < x1"),
        ("a.csv", changed(4, -3), "x0 < x1 and y0 < y1"),
        ("a.csv", changed(5, 1.5), "a score must be 0 to 1"),
        ("a.csv", changed(6, 7), "an identity has one box in a frame"),
        ("a.csv", changed(6, -1), "an identity must be"),
        ("a.csv", changed(6, 1 << 31), "an identity must be"),
        ("a.csv", changed(0, 0.5), "a whole number from 0"),
        ("a.csv", changed(0, -1), "a whole number from 0"),
        ("a.csv", changed(0, ""), "a whole number from 0"),
        ("a.csv", changed(1, "left"), "row 2 of column 'x0' holds 'left', expected a number"),
        ("a.csv", csv(header="frame_idx,x,y,w,h,score,track_id"), "has no column 'x0'; expected frame_idx, x0, y0"),
        ("a.csv", csv(header="frame_idx,x0,y0,x1,y1,score,person"), "an unknown column 'person'"),
        ("a.csv", csv(header="frame_idx,x0,y0,x1,y1,score,score"), "two columns of one name"),
        ("a.csv", csv() + "\n1,2", "not a readable file of boxes"),
        ("a.csv", "", "the file is empty"),
        ("a.txt", "1,2,3,4", "row 1 has 4 columns"),
        ("a.txt", "0,1,10,20,30,60,1", "a whole number from 0"),
        ("a.json", "[" * 100_000, "not a readable file of boxes"),
        ("a.json", "{", "not a readable file of boxes"),
        ("a.json", '{"a": 1}', "has no 'images'"),
        ("a.json", '[{"image_id": 0, "bbox": [1, 2, 3]}]', "row 1: bbox has 3 numbers"),
        ("a.json", '[{"image_id": "x", "bbox": [1, 2, 3, 4]}]', "without 'images'"),
        ("a.json", '[{"image_id": 0, "bbox": [1, 2, NaN, 4]}]', "bbox"),
        ("a.json", coco(images=[{"id": 5}]), "image_id 2 is none of 'images'"),
        ("a.json", coco(images=[{"id": 0}, {"id": 0}]), "two of its 'images' have one id"),
        ("a.parquet", "x" * 100, "not a file of boxes"),
        ("a.xyz", csv(), "not a file of boxes"),
    ],
)
def test_what_cannot_be_used_is_named_by_file_and_row(name, text, words, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as error:
        read_boxes(tmp_path / name)
    assert words in str(error.value) and str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_images_of_another_folder_are_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(coco(images=[{"id": n, "file_name": f"{n}.png"} for n in range(3)]))
    with pytest.raises(InputError, match=r"image '0\.png' is none of the input's"):
        read_boxes(path, FILES)


def test_boxes_of_another_video_are_refused(tmp_path):
    file = read_boxes(written(tmp_path, "csv"))
    check_fit(tmp_path, file, np.arange(3), (100, 90))
    check_fit(tmp_path, file, np.arange(3), (60, 75))  # people reach out of the frame
    check_fit(tmp_path, file, np.arange(2), (48, 75))  # frame 2 is not among these
    for size_wh in ((48, 75), (60, 20), (46, 36)):
        with pytest.raises(InputError, match="is outside the frame of"):
            check_fit(tmp_path, file, np.arange(3), size_wh)
    with pytest.raises(InputError, match="frames of 100 x 90, those of the input are 200 x 180"):
        check_fit(tmp_path, file._replace(size_wh=(100, 90)), np.arange(3), (200, 180))
    check_frames(tmp_path, file.boxes, 2)
    with pytest.raises(InputError, match="has boxes in frame 2, the last frame of the input is 1"):
        check_frames(tmp_path, file.boxes, 1)
