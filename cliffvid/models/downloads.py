"""List the official files that cliffvid can use and must not redistribute: source, licence, size and hash."""

from dataclasses import dataclass

DARKNET = "public domain, as Darknet's site says"
CLIFF_PAGE = "the links in CLIFF/README.md of huawei-noah/noah-research on GitHub"
CLIFF = "CLIFF: MIT; nothing separate is stated for the weights"
BEDLAM = "non-commercial scientific research only, after registration"


@dataclass(frozen=True)
class OfficialFile:
    """One official file; Darknet's sizes are exact, the others approximate; an unknown hash is empty."""

    name: str
    model: str  # the name of the model folder that is made from it
    source: str
    licence: str
    size: str
    command: str
    sha256: str = ""


FILES = (
    OfficialFile(
        "yolov3.weights",
        "yolov3",
        "https://pjreddie.com/media/files/yolov3.weights",
        DARKNET,
        "248,007,048 bytes",
        "cliffvid export yolov3 yolov3.weights",
        "523e4e69e1d015393a1b0a441cef1d9c7659e3eb2d7e15f793f060a21b32f297",
    ),
    OfficialFile(
        "yolov3-spp.weights",
        "yolov3-spp",
        "https://pjreddie.com/media/files/yolov3-spp.weights",
        DARKNET,
        "252,209,544 bytes",
        "cliffvid export yolov3 yolov3-spp.weights --size 608",
        "87a1e8c85c763316f34e428f2295e1db9ed4abcec59dd9544f8052f50de327b4",
    ),
    OfficialFile(
        "hr48-PA43.0_MJE69.0_MVE81.2_3dpw.pt",
        "cliff-hr48",
        CLIFF_PAGE,
        CLIFF,
        "about 317 MB",
        "cliffvid export cliff hr48-PA43.0_MJE69.0_MVE81.2_3dpw.pt",
    ),
    OfficialFile(
        "res50-PA45.7_MJE72.0_MVE85.3_3dpw.pt",
        "cliff-res50",
        CLIFF_PAGE,
        CLIFF,
        "about 108 MB",
        "cliffvid export cliff res50-PA45.7_MJE72.0_MVE85.3_3dpw.pt",
    ),
    OfficialFile(
        "MMHuman3D's CLIFF checkpoint",
        "cliff-res50-mmhuman3d",
        "configs/cliff/README.md of open-mmlab/mmhuman3d on GitHub",
        "Apache-2.0",
        "about 108 MB or, with its optimiser, more",
        "cliffvid export cliff FILE.pth",
    ),
    OfficialFile(
        "BEDLAM's CLIFF checkpoints",
        "cliff-bedlam",
        "https://bedlam.is.tue.mpg.de",
        BEDLAM,
        "size not known here",
        "cliffvid export cliff FILE.ckpt",
    ),
    OfficialFile(
        "BEDLAM's CLIFF checkpoints for SMPL-X",
        "cliff-bedlam-x",
        "https://bedlam.is.tue.mpg.de",
        BEDLAM,
        "size not known here",
        "cliffvid export cliff FILE.ckpt",
    ),
)
