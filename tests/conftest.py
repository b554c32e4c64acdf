import os
import shutil
import sys
import threading

import pytest
from hypothesis import settings

import needs
from clips import make_clip
from toys import make_toys

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("repeatable")


def pytest_runtest_setup(item):
    if item.get_closest_marker("needs_cuda") and not os.path.exists("/dev/nvidia0"):
        needs.lacks("cuda", "needs an NVIDIA GPU")


on_a_gpu = []  # tests that ran there


def pytest_runtest_logreport(report):
    if "needs_cuda" in report.keywords and report.when == "call" and report.outcome != "skipped":
        on_a_gpu.append(report.nodeid)


def pytest_sessionfinish(session):
    """Fail where a GPU is required and no test used one, since a module that is skipped hides its tests."""
    if needs.required("cuda") and not on_a_gpu and not hasattr(session.config, "workerinput"):
        print("cuda is required: no test ran on a GPU")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def toys(tmp_path_factory):
    """A folder of toy models."""
    return make_toys(tmp_path_factory.mktemp("engines"))


@pytest.fixture(scope="session")
def toy_options(toys):
    """Options that choose the toy models; call with more settings."""
    from cliffvid import Options

    def options(**more):
        return Options(models_dir=toys, detector="toy-detector", regressor="toy-regressor", threads=1, **more)

    return options


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """30 frames, three people."""
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=30, people=3)


@pytest.fixture(scope="session")
def egl():
    """Skips where nothing can be rendered, unless CLIFFVID_REQUIRE names "egl"."""
    from cliffvid.errors import BackendError
    from cliffvid.view.renderers import open_renderer

    try:
        open_renderer("gl")
    except BackendError as error:
        needs.lacks("egl", str(error))


@pytest.fixture(autouse=True)
def no_thread_left():
    """Whatever happens in a test, the pipeline's threads end with it."""
    yield
    assert [thread for thread in threading.enumerate() if thread.name == "cliffvid"] == []


@pytest.fixture
def cliffvid(toys, tmp_path, monkeypatch, capfd):
    """Run the command in an empty folder; answers (exit code, stdout, stderr)."""
    from cliffvid.cli import app as cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*args, toy_models=True):
        models = ["--models", toys, "--detector", "toy-detector", "--regressor", "toy-regressor"] if toy_models else []
        monkeypatch.setattr(sys, "argv", ["cliffvid", *map(str, args), *map(str, models)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return end.value.code, out, err

    return run


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """A stand-in for a GPU, with TensorRT-RTX, and a cache folder of the test's own."""
    from fake_gpu import FakeGpu, put_in_place

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return put_in_place(monkeypatch, FakeGpu())


@pytest.fixture
def folder(toys, tmp_path):
    """The toy regressor, of one's own to write plans into."""
    for file in ("manifest.json", "model.onnx"):
        (tmp_path / "toy").mkdir(exist_ok=True)
        shutil.copy(toys / "toy-regressor" / file, tmp_path / "toy")
    return tmp_path / "toy"
