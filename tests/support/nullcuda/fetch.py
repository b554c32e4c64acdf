"""``python -m nullcuda.fetch FOLDER``: get onnxruntime-gpu and CUDA's headers from PyPI, and unpack what is needed."""

import json
import platform
import shutil
import sys
import zipfile
from pathlib import Path

from cliffvid.export.open.sources import Package, fetch

# Left out: what makes it an installed package beside onnxruntime, its tools, and TensorRT.
WANTED = "onnxruntime/__init__.py", "onnxruntime/backend/", "onnxruntime/capi/", "nvidia/cu13/include/"
UNWANTED = "_tensorrt.so"


def packages() -> list[Package]:
    """Return what this Python needs; nothing where there is no such onnxruntime-gpu."""
    table = json.loads(Path(__file__).with_name("sources.json").read_text(encoding="utf-8"))
    builds = table["onnxruntime-gpu"] if (sys.platform, platform.machine()) == ("linux", "x86_64") else {}
    build = builds.get(f"cp{sys.version_info.major}{sys.version_info.minor}")
    return [*table["headers"], build] if build else []


def hashes() -> str:
    return "\n".join(source["sha256"] for source in packages())


def fetched(folder: Path) -> bool:
    """Return whether all is in the folder, in the versions that are wanted."""
    mark = folder / "fetched"
    return bool(packages()) and mark.is_file() and mark.read_text() == hashes()


def main(folder: Path) -> None:
    """Fetch and unpack into the folder, unless it is there."""
    if not packages():
        print("no onnxruntime-gpu for this Python on this machine: tests on the null CUDA are skipped", file=sys.stderr)
        return
    mark = folder / "fetched"
    if not fetched(folder):
        mark.unlink(missing_ok=True)
        for old in ("onnxruntime", "nvidia"):
            shutil.rmtree(folder / old, ignore_errors=True)
        for source in packages():
            wheel = fetch(source, folder)
            with zipfile.ZipFile(wheel) as archive:
                members = (n for n in archive.namelist() if n.startswith(WANTED) and not n.endswith(UNWANTED))
                archive.extractall(folder, members)
            wheel.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(hashes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
