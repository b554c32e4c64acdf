"""Import packages that need not be installed, and tell a missing one from one that does not load."""

from importlib import import_module
from types import ModuleType

from .errors import BackendError, NotInstalledError

REINSTALL = "install it again, or see what else works here: cliffvid doctor"


def load(package: str, install: str, repair: str = REINSTALL) -> ModuleType:
    """Return an optional package, or a module of one.

    ``install`` is how to get it, ``repair`` what to do where it is there and does not load. Raises NotInstalledError if
    the package is missing, BackendError if its import fails for any other reason: a library that does not load, a
    package that it needs itself. An interrupt stays one, whatever the package makes of it.
    """
    try:
        return import_module(package)
    except Exception as error:  # of code that others wrote: a package may raise anything
        if _interrupted(error):
            raise KeyboardInterrupt from error
        if isinstance(error, ModuleNotFoundError) and error.name and f"{package}.".startswith(f"{error.name}."):
            raise NotInstalledError(f"{package} is not installed: {install}") from error
        words = " ".join(str(error).split()) or type(error).__name__
        raise BackendError(f"{package} is installed but does not load: {words}; {repair}") from error


def _interrupted(error: BaseException | None) -> bool:
    """Whether an error came of Ctrl-C: libraries that are being loaded turn that into an error of their own."""
    while error:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
