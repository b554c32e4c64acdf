"""The house rules that a machine can hold."""

import ast
import inspect
import re
import runpy
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

import cliffvid
from bench import __main__ as cli_bench
from cliffvid.cli import app as cli
from cliffvid.option import description
from cliffvid.tables import Tracks
from cliffvid.tracks.write import COLUMNS

ROOT = Path(__file__).parents[2]
RUNTIME = sorted((ROOT / "cliffvid").rglob("*.py"))


def imports(path):
    """(module, level, at the top of the file) of every import in a file."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0, node in tree.body) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level, node in tree.body


@pytest.mark.parametrize("path", RUNTIME, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_need_not_be_installed_is_imported_on_use(path):
    optional = {
        "cliffvid.export",
        "fsspec",
        "gcsfs",
        "s3fs",
        "moderngl",
        "onnxruntime",
        "openvino",
        "pxr",
        "pyrender",
        "ray",
        "tensorrt",
        "tensorrt_rtx",
    }
    for module, level, at_top in imports(path):
        name = "cliffvid.export" if level and module.split(".")[0] == "export" else module.split(".")[0]
        assert name not in optional or not at_top or path.parent.name == "renderers"


@pytest.mark.parametrize("path", RUNTIME, ids=lambda path: str(path.relative_to(ROOT)))
def test_all_that_is_printed_goes_through_the_console(path):
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = {call.id for call in calls if isinstance(call, ast.Name)}
    assert path.stem == "console" or not names & {"print", "Console", "Live"}


def test_nothing_heavy_is_imported_for_help():
    heavy = {"av", "cv2", "numpy", "pyarrow", "onnxruntime", "rich.progress", "PIL"}
    code = f"import cliffvid.cli.app, sys; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_public_names():
    assert cliffvid.__all__ == sorted(cliffvid.__all__)
    for name in cliffvid.__all__:
        assert inspect.getdoc(getattr(cliffvid, name)), name
        assert not inspect.ismodule(getattr(cliffvid, name)), name  # rooms are called annotate and evaluate, too
    with pytest.raises(AttributeError):
        cliffvid.nonsense  # noqa: B018


def test_the_reference_page_lists_all_commands_and_options_as_they_are():
    script = runpy.run_path(str(ROOT / "docs" / "reference.py"))
    assert script["PAGE"].read_text() == script["page"](), "make docs-reference"


def test_the_types_of_options_as_keywords_follow_from_the_options():
    script = runpy.run_path(str(ROOT / "docs" / "keywords.py"))
    for home in script["HOMES"]:
        assert home.read_text() == script["module"](home), "make docs-reference"


def test_every_option_has_a_flag_or_is_for_python_alone():
    """A field of a class of options is described where it stands; what is not is tuning, or of --camera's file."""
    homes = [
        "cliffvid.options",
        *(f"cliffvid.{path.parent.name}.options" for path in ROOT.glob("cliffvid/*/options.py")),
    ]
    kinds = {kind for home in homes for name, kind in vars(import_module(home)).items() if name.endswith("Options")}
    assert len(kinds) > 5
    for kind in kinds:
        for field in fields(kind):
            assert description(field) or field.name.startswith(("track_", "gate_", "camera_")), (kind, field.name)


def commands(command):
    """A command and all below it."""
    yield command
    for each in getattr(command, "commands", {}).values():
        yield from commands(each)


def test_readme_and_format_page_name_what_is_there():
    readme, page = (
        (ROOT / "README.md").read_text(),
        (ROOT / "docs" / "pages" / "reference" / "tracks-file.md").read_text(),
    )
    flags = {flag for command in commands(cli.make_command(cli.app)) for param in command.params for flag in param.opts}
    flags |= {"--help"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", readme)) <= flags
    for column in COLUMNS:
        assert f"`{column}" in page, column
    assert set(COLUMNS) == set(Tracks.empty(COLUMNS).columns())


def test_each_measurement_has_a_make_target():
    makefile = (ROOT / "Makefile").read_text()
    names = {line[0]: line[1].split() for line in re.findall(r"^(BENCHES|TARGETS) := (.*)$", makefile, re.MULTILINE)}
    assert sorted(names["BENCHES"]) == sorted(cli_bench.KNOWN)
    assert {f"bench-{name}" for name in cli_bench.GROUPS} <= set(names["TARGETS"])


def test_no_file_bears_the_name_of_a_package_it_would_shadow():
    for folder in (*(ROOT / "export").glob("*/"), ROOT / "cliffvid/models/backends"):
        names = {path.stem for path in folder.glob("*.py")}
        assert not names & {"onnx", "torch", "tensorrt", "tflite", "openvino", "onnxruntime", "smplx"}
