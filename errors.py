"""Errors that are no fault of the program, each with one line for the user.

A ``UserError`` is shown as it stands, by the page, the API and the command line (exit code 2). Everything else
is a bug or a broken machine and stays an ordinary exception.
"""


def first_line(error: Exception) -> str:
    """Return the first line of a library's error, or its class where it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class UserError(Exception):
    """A mistake the user can mend; the message says what is wrong and what to do."""


class InvalidSettings(UserError):
    """A setting is missing, of the wrong type or out of bounds."""


class ModelUnavailable(UserError):
    """A model that is not in the list, not on this machine, or not of a kind that fits."""


class InvalidVideo(UserError):
    """A file that is not a video, or not one of ours."""


class InvalidPicture(UserError):
    """A file that is not a picture, or not one that can be shown whole."""


class NothingFound(UserError):
    """A video without what its annotator looks for, such as people."""


class InvalidStoryboard(UserError):
    """A storyboard that cannot be read, is empty, or does not fit the number of frames."""


class DirectorError(UserError):
    """A language model that cannot be asked, or whose answer cannot be used."""


class GenerationFailed(UserError):
    """The run broke down in a way that other settings may avoid: out of memory, numbers that are not finite."""


class Cancelled(Exception):
    """The user stopped the job; not a mistake, and nothing is left behind."""
