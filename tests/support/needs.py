"""What a test needs that a machine may lack: the test is skipped then, or fails where CLIFFVID_REQUIRE names it."""

import importlib
import os
from types import ModuleType

import pytest


def required(what: str) -> bool:
    """Return whether CLIFFVID_REQUIRE names it."""
    return what in os.environ.get("CLIFFVID_REQUIRE", "").replace(",", " ").split()


def lacks(what: str, reason: str) -> None:
    """Skip what is running, a test or the import of its module; fail it where CLIFFVID_REQUIRE names ``what``."""
    if required(what):
        pytest.fail(f"{what} is required: {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def package(name: str) -> ModuleType:
    """The package of that name, imported."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.split(".")[0]:
            raise
        lacks(name, f"the package {name} is not installed")
