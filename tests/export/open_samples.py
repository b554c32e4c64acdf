"""Makes the samples.npz of the bundled networks: pictures of the example clip, and what independent code answers.

    python tests/export/open_samples.py SOURCES    # the folder of the downloaded packages; then `cliffvid export open`

The reference of person-open is TensorFlow.js, see tfjs_reader.py; that of yolov3-tiny is the network in torch, which
test_yolo.py holds to OpenCV's reader; the regressor's is LiteRT for BlazePose and reference_head.py for the head.
test_open_samples.py makes them anew and compares.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

import reference_head
import tfjs_reader
from cliffvid.export.folder.model_folder import npz_bytes, pack_samples
from cliffvid.export.open.head import ANSWERS, read_head
from cliffvid.export.open.landmarks import place_landmarks
from cliffvid.export.open.sources import OPEN, read_member
from cliffvid.export.yolov3.export import load_yolov3, person_rows
from cliffvid.models.manifest import BUNDLED, read_manifest
from cliffvid.models.session import open_session
from cliffvid.options import Options
from cliffvid.pipeline.crop import crops
from cliffvid.pipeline.detect import detect
from cliffvid.video.images.rgb import RgbImage
from cliffvid.video.reader import DecodeCounts, Video

CLIP = Path(__file__).parents[2] / "examples" / "pedestrians.mp4"
PEOPLE = 4
CLOSE_UP = slice(172, 276), slice(553, 605)  # of the first frame, rows and columns: a man who walks


def first_frame():
    with Video(CLIP) as video:
        return next(video.frames(1, DecodeCounts()))


def person_samples(sources: Path, scratch: Path) -> tuple[dict, dict]:
    """A frame, one of its people so near that they count as large, and noise, on the canvas that NanoDet's file is for;
    and the rows of both networks.
    """
    side_px = tfjs_reader.NANODET_PX
    half_px = side_px // 2
    frame = first_frame().images[0].rgb()
    image = np.random.default_rng(0).integers(0, 256, (1, side_px, side_px, 3), np.uint8)
    image[0, :, half_px:] = cv2.resize(frame[CLOSE_UP], (half_px, side_px), interpolation=cv2.INTER_LINEAR)
    image[0, : half_px * 3 // 4, :half_px] = cv2.resize(frame, (half_px, half_px * 3 // 4))
    return {"image": image}, {"rows": tfjs_reader.Reader(sources, scratch).person_rows(image[0])}


def detector_samples(sources: Path, scratch: Path) -> tuple[dict, dict]:
    """One letterboxed frame, and all rows of the network in torch."""
    weights = scratch / "yolov3-tiny.weights"
    weights.write_bytes(read_member("yolov3-tiny", sources))
    image = {
        "image": RgbImage.letterboxed(first_frame().images, read_manifest(BUNDLED / "yolov3-tiny").rules["letterbox"])
    }
    return image, {"rows": person_rows(load_yolov3(weights, OPEN / "yolov3-tiny.cfg"), image)}


def regressor_samples(sources: Path, blazepose_of: str = "blazepose") -> tuple[dict, dict]:
    """The first frame's best people, and LiteRT's landmarks made bodies by the slow head."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with open_session(read_manifest(BUNDLED / "yolov3-tiny")) as detector:
        options = Options(max_people=PEOPLE)
        (found,) = detect([first_frame()], detector, options)
        people = crops(found, read_manifest(BUNDLED / "cliff-open"), options)
    plain = OpResolverType.BUILTIN_REF
    blazepose = Interpreter(
        model_content=read_member(blazepose_of, sources), num_threads=1, experimental_op_resolver_type=plain
    )
    blazepose.allocate_tensors()
    with np.load(BUNDLED / "open-body" / "body.npz", allow_pickle=False) as file:
        body = place_landmarks({name: file[name] for name in file.files if name != "posedirs"})
    numbers, answers = read_head(OPEN / "head.npz"), []
    for pixels, info in zip(people.pixels, people.bbox_info.astype(np.float64), strict=True):
        blazepose.set_tensor(blazepose.get_input_details()[0]["index"], pixels[None].astype(np.float32) / 255)
        blazepose.invoke()
        seen = {d["name"].split(":")[0]: blazepose.get_tensor(d["index"])[0] for d in blazepose.get_output_details()}
        landmarks, world = seen["Identity"].reshape(39, 5), seen["Identity_4"].reshape(39, 3)
        answers.append((*reference_head.regress(landmarks, world, info, numbers, body), seen["Identity_1"][0]))
    names = (*ANSWERS, "presence")
    reference = {name: np.array(rows, np.float32) for name, rows in zip(names, zip(*answers, strict=True), strict=True)}
    return {"crop": people.pixels, "bbox_info": people.bbox_info}, reference


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        made = {
            "person-open": person_samples(Path(sys.argv[1]), Path(folder)),
            "yolov3-tiny": detector_samples(Path(sys.argv[1]), Path(folder)),
            "cliff-open": regressor_samples(Path(sys.argv[1])),
        }
    for name, samples in made.items():
        (BUNDLED / name / "samples.npz").write_bytes(pack_samples(*samples))
    _, reference = regressor_samples(Path(sys.argv[1]), "blazepose-heavy")
    (OPEN / "heavy_reference.npz").write_bytes(npz_bytes(reference))
