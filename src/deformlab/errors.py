"""Errors that a user can act on: one line that says what is wrong, where, and how to fix it.

The command line prints these without a traceback and exits with code 2. Any other exception is a bug of ours.
"""

import signal

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DatasetError",
    "DeformlabError",
    "Interrupted",
    "MissingToolkitError",
    "RunFolderError",
    "TrainingError",
]


class DeformlabError(Exception):
    """Something the user can fix; its text is one complete line."""

    def __init__(self, message: str = "") -> None:
        # A DataLoader re-raises a worker's error with the worker's traceback around the message.
        if message.startswith("Caught "):
            message = message.rpartition(f"{type(self).__module__}.{type(self).__qualname__}: ")[2].strip()
        super().__init__(message)


class ConfigError(DeformlabError, ValueError):
    """A configuration or sweep file asks for something that does not exist or cannot work."""


class DatasetError(DeformlabError):
    """A data set is missing, incomplete or unreadable."""


class CheckpointError(DeformlabError):
    """A checkpoint cannot be read or written, or belongs to another architecture."""


class RunFolderError(DeformlabError):
    """A run folder is missing, broken or in use."""


class MissingToolkitError(DeformlabError, ImportError):
    """Packages of the training toolkit are not installed."""


class TrainingError(DeformlabError):
    """A training cannot continue; all of its processes raise this together."""


class Interrupted(KeyboardInterrupt):
    """A signal asked to stop.

    Args:
        number: The signal.
        advice: How to continue, one line.
    """

    def __init__(self, number: int, advice: str = "") -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}{advice and f'; {advice}'}")
        self.number = number

    @property
    def exit_code(self) -> int:
        """The exit code by the shell's convention, 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.number
