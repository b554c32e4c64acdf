"""Write TRC for OpenSim, one file per piece: the joints as markers."""

from ...models.body import Body
from ...names import printable
from ..motion import Piece

FACTS = ("DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units")
ORIGINAL = ("OrigDataRate", "OrigDataStartFrame", "OrigNumFrames")


def trc_text(piece: Piece, body: Body, fps: float, name: str) -> str:
    """Return the file's text. Axes: x right, y up, z to the camera, see ``Piece.level``.

    Millimetres, seconds of the video, a constant ``fps``.
    """
    places_mm = 1000 * piece.joints(body).reshape(len(piece), -1)
    count = len(body.parents)
    rate = f"{fps:.6f}"
    facts = (rate, rate, len(piece), count, "mm", rate, 1, len(piece))
    numbers = [f"{axis}{k}" for k in range(1, count + 1) for axis in "XYZ"]
    lines: list[tuple[object, ...]] = [
        ("PathFileType", 4, "(X/Y/Z)", printable(name)),
        FACTS + ORIGINAL,
        facts,
        ("Frame#", "Time", *(part for joint in body.joint_names for part in (joint, "", ""))),
        ("", "", *numbers),
        (),
    ]
    for frame, (time_s, row) in enumerate(zip(piece.time_s.tolist(), places_mm.tolist(), strict=True), start=1):
        lines.append((frame, f"{time_s:.6f}", *(f"{value:.3f}" for value in row)))
    return "".join("\t".join(map(str, line)) + "\n" for line in lines)
