"""Import optional packages, and tell a missing one from one that does not load."""

from importlib import import_module
from types import ModuleType

from .errors import BackendError, NotInstalledError

REINSTALL = "install it again, or see what else works here: cliffvid doctor"


def load(package: str, install: str, repair: str = REINSTALL) -> ModuleType:
    """Return an optional package, or a module of one.

    ``install`` says how to get it, ``repair`` what to do if it is installed but does not load. Raises NotInstalledError
    if the package is missing. Raises BackendError if its import fails for any other reason: a library that does not
    load, a missing dependency. KeyboardInterrupt is raised on, even if the package turned it into another error.
    """
    try:
        return import_module(package)
    except Exception as error:  # third-party code may raise anything
        if _interrupted(error):
            raise KeyboardInterrupt from error
        if isinstance(error, ModuleNotFoundError) and error.name and f"{package}.".startswith(f"{error.name}."):
            raise NotInstalledError(f"{package} is not installed: {install}") from error
        words = " ".join(str(error).split()) or type(error).__name__
        raise BackendError(f"{package} is installed but does not load: {words}; {repair}") from error


def _interrupted(error: BaseException | None) -> bool:
    """Return whether Ctrl-C caused an error: libraries that are loading turn it into their own errors."""
    while error:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
