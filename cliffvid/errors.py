"""Every error a user can meet.

CliffvidError
├── UsageError      exit 2   an option or name that cannot be meant; nothing was started
├── InputError      exit 1   a video that cannot be read, or cannot be read to its end
├── ModelError      exit 1   a model folder that is damaged or does not keep its own contract
├── BackendError    exit 1   a runtime or device that was asked for and is not there
└── OutputError     exit 1   a result that cannot be written

Each message says what happened, to which file, and what to do.
"""


class CliffvidError(Exception):
    """Base of all errors above; ``exit_code`` is what the command line answers with."""

    exit_code = 1


class UsageError(CliffvidError):
    exit_code = 2


class InputError(CliffvidError):
    pass


class ModelError(CliffvidError):
    pass


class BackendError(CliffvidError):
    pass


class OutputError(CliffvidError):
    pass
