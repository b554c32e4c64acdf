import os
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
        pytest.skip("needs an NVIDIA GPU")


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
