"""The exceptions. Each type says who caused the error, and so what the caller should do.

Every message is one line that names the place (file, key, tensor, topic), what was found and what was
expected. Commands print that line and leave with the type's ``exit_code``.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_NO_ROOM = 3


class EdgeAgentError(Exception):
    """Root of the tree. ``exit_code`` is what a command that ends with this error returns."""

    exit_code: ClassVar[int] = EXIT_FAILED


class ConfigError(EdgeAgentError):
    """The user's configuration, profile or command line is wrong."""

    exit_code = EXIT_BAD_INPUT


class ModelError(EdgeAgentError):
    """A model's arrays break a rule: the message names tensor, index and rule."""

    exit_code = EXIT_BAD_INPUT


class ObservationError(EdgeAgentError):
    """An observation is not one the model can take: the message names agent and modality."""

    exit_code = EXIT_BAD_INPUT


class BundleError(EdgeAgentError):
    """A bundle is damaged, incomplete, fails its golden vectors, or lacks a signature that is demanded."""

    exit_code = EXIT_BAD_INPUT


class BudgetError(EdgeAgentError):
    """What was asked for does not fit the byte budget.

    ``missing`` is the number of bytes that would have to be added to the budget.
    """

    exit_code = EXIT_NO_ROOM

    def __init__(self, message: str, missing: int) -> None:
        super().__init__(message)
        self.missing = missing


class PeerError(EdgeAgentError):
    """A message from a peer, the hub or the broker breaks the protocol; it is counted and dropped."""


class PlatformError(EdgeAgentError):
    """The board or its operating system refuses: a full disk, a missing file, no such instruction set."""
