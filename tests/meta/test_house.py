"""The house rules that a machine can hold."""

import ast
import inspect
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import cliffvid
from cliffvid import Options, cli, cli_bench, cli_models, cli_truth
from cliffvid.options import (
    BulkOptions,
    ConvertOptions,
    EvalOptions,
    OverlayOptions,
    PseudoGTViewOptions,
    SmoothOptions,
)
from cliffvid.types import Tracks
from cliffvid.write import COLUMNS

ROOT = Path(__file__).parents[2]
AV_FILES = {"clips", "container", "damage", "decode", "deinterlace", "display", "film", "packets", "probe", "seek"}
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
def test_the_runtime_imports_neither_the_workshop_nor_training_frameworks(path):
    for module, _, at_top in imports(path):
        assert module.split(".")[0] not in {"smplx", "scipy"}
        if module.split(".")[0] in {
            "torch",
            "onnx",
        }:  # in one backend alone, whose operators are imported when it is used
            assert path.name == "pt_ops.py" or (path.name == "pt.py" and not at_top)
        if module == "pt_ops":
            assert path.name == "pt.py" and not at_top
        if "export" in module:
            assert (path.name == "cli_models.py" or path.parent.name == "bench") and not at_top
        if module.split(".")[0] == "av":
            assert path.stem in AV_FILES
        if module.split(".")[0] in {"onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "cuda"}:
            assert path.parent.name == "backends" and not at_top


def test_nothing_heavy_is_imported_for_help():
    heavy = {"av", "cv2", "numpy", "pyarrow", "onnxruntime", "rich.progress", "PIL"}
    code = f"import cliffvid.cli, sys; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_public_names():
    assert cliffvid.__all__ == sorted(cliffvid.__all__)
    for name in cliffvid.__all__:
        assert inspect.getdoc(getattr(cliffvid, name)), name
    with pytest.raises(AttributeError):
        cliffvid.nonsense  # noqa: B018


def test_the_command_line_has_every_option_with_its_default():
    flags = inspect.signature(cli.process).parameters
    names = {"start_s": "start", "end_s": "end"}
    for field in fields(Options):
        if field.name.startswith(("track_", "gate_")):
            continue
        assert flags[names.get(field.name, field.name)].default == field.default, field.name


def test_the_bulk_command_has_every_option_with_its_default():
    flags = inspect.signature(cli.annotate).parameters
    names = {"split_s": "split", "checkpoint_s": "checkpoint", "start_s": "start", "end_s": "end"}
    unused = {"format", "overwrite", "videos_at_once"}
    for options in (Options, BulkOptions):
        for field in fields(options):
            if not field.name.startswith(("track_", "gate_")) and field.name not in unused:
                assert flags[names.get(field.name, field.name)].default == field.default, field.name


def test_the_overlay_command_has_every_option_with_its_default():
    flags = inspect.signature(cli.overlay).parameters
    names = {"start_s": "start", "end_s": "end"}
    for field in fields(OverlayOptions):
        default = flags[names.get(field.name, field.name)].default
        assert (default or ()) == field.default if field.name == "track" else default == field.default, field.name


def test_the_convert_command_has_every_option_with_its_default():
    flags = inspect.signature(cli.convert).parameters
    for field in fields(ConvertOptions)[1:]:
        assert (flags[field.name].default or field.default) == field.default, field.name


def test_the_commands_about_ground_truth_have_every_option_with_its_default():
    for command, options in ((cli.evaluate, EvalOptions), (cli_truth.pseudogt_view, PseudoGTViewOptions)):
        flags = inspect.signature(command).parameters
        for field in fields(options):
            assert flags[field.name].default == field.default, field.name


def test_the_smooth_command_has_every_option_with_its_default():
    flags = inspect.signature(cli.smooth).parameters
    for field in fields(SmoothOptions):
        assert flags[field.name].default == field.default, field.name


def test_readme_and_format_page_name_what_is_there():
    readme, page = (ROOT / "README.md").read_text(), (ROOT / "docs" / "format.md").read_text()
    commands = (
        cli.process,
        cli.annotate,
        cli.annotate_verify,
        cli.overlay,
        cli.report,
        cli.convert,
        cli.smooth,
        cli.evaluate,
        cli_models.add_body,
        cli_models.export_plans,
        cli.probe,
    )
    flags = {"--" + n.replace("_", "-") for command in commands for n in inspect.signature(command).parameters}
    commands = [command.callback for command in cli_truth.pseudogt_app.registered_commands]
    flags |= {"--" + n.replace("_", "-") for command in commands for n in inspect.signature(command).parameters}
    flags |= {"--max", "--json", "--help", "--version", "--debug", "--check", "--cfg", "--size"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", readme)) <= flags
    for column in COLUMNS:
        assert f"`{column}" in page, column
    assert set(COLUMNS) == set(Tracks.empty().columns())


def test_each_measurement_has_a_make_target():
    makefile = (ROOT / "Makefile").read_text()
    names = {line[0]: line[1].split() for line in re.findall(r"^(BENCHES|TARGETS) := (.*)$", makefile, re.MULTILINE)}
    assert sorted(names["BENCHES"]) == sorted(cli_bench.KNOWN)
    assert {f"bench-{name}" for name in cli_bench.GROUPS} <= set(names["TARGETS"])


def test_no_file_bears_the_name_of_a_package_it_would_shadow():
    for folder in ("export", "cliffvid/backends"):
        names = {path.stem for path in (ROOT / folder).glob("*.py")}
        assert not names & {"onnx", "torch", "tensorrt", "tflite", "openvino", "onnxruntime", "smplx"}
