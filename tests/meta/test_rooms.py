"""Which room may use which: the house's plan, held by the imports, lazy ones included."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "cliffvid"
# A room, and the others that it may import; everybody may import the ground, the modules that lie in no room.
ROOMS = {
    "ground": set(),
    "video": set(),
    "models": set(),
    "tracks": {"models"},
    "pipeline": {"video", "models", "tracks"},
    "view": {"video", "models", "tracks"},
    "annotate": {"video", "models", "tracks", "pipeline"},
    "evaluate": {"video", "models", "tracks", "pipeline", "view"},
    "cli": {"video", "models", "tracks", "pipeline", "view", "annotate", "evaluate", "export"},
    "export": {"models", "evaluate"},
}
# A library lives in its rooms. Any room may import those that are not named here.
LIBRARIES = {
    "av": {"video"},
    "typer": {"cli"},
    "rich": {"cli"},
    "moderngl": {"view"},
    "pyrender": {"view"},
    "onnxruntime": {"models", "export"},
    "openvino": {"models"},
    "tensorrt": {"models"},
    "tensorrt_rtx": {"models"},
    "pyarrow": {"tracks", "annotate", "evaluate"},
    "lap": {"pipeline", "evaluate"},
    "pxr": {"tracks"},
    "ray": {"annotate"},
    "fsspec": {"video"},
    "s3fs": {"video"},
    "gcsfs": {"video"},
    "torch": {"export"},
    "onnx": {"export"},
    "smplx": set(),
    "scipy": set(),
}
FILES_MAX, LINES_MAX, FUNCTION_MAX = 18, 300, 60
SOURCES = [*sorted(PACKAGE.rglob("*.py")), *sorted((ROOT / "export").rglob("*.py"))]


def room_of(path: Path) -> str:
    """Return the room that a file of the two packages lies in."""
    parts = path.relative_to(ROOT).parts
    return "export" if parts[0] == "export" else parts[1] if len(parts) > 2 else "ground"


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the room or library of each import, and the statement."""
    package = ("cliffvid", *path.relative_to(ROOT).parts[:-1])[1 - (path.parts[len(ROOT.parts)] == "export") :]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            names = [[*base, alias.name] for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] == "cliffvid":
                here = name[1] if len(name) > 1 and (name[1] in ROOMS or (PACKAGE / name[1]).is_dir()) else "ground"
            else:
                here = name[0]
            yield here, ast.unparse(node)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_what_the_plan_lets_it(path):
    room = room_of(path)
    if path.parent == PACKAGE and path.stem in ("__init__", "__main__"):
        return  # the doors
    for target, statement in imports(path):
        if target in ROOMS:
            assert target in {"ground", room} | ROOMS[room], statement
        elif target in LIBRARIES:
            assert room in LIBRARIES[target], statement


def test_each_class_has_a_name_of_its_own():
    homes: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_rooms_files_and_functions_stay_small_enough_to_be_read():
    long = set()
    for room in {path.parent for path in SOURCES}:
        names = [path.name for path in room.glob("*.py") if path.name not in ("__init__.py", "__main__.py")]
        assert len(names) <= FILES_MAX, f"{room.relative_to(ROOT)}: {len(names)} files"
    for path in SOURCES:
        text = path.read_text()
        assert len(text.splitlines()) <= LINES_MAX, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= FUNCTION_MAX:
                long.add(f"{path.relative_to(ROOT)}: {node.name}")
    assert not long
