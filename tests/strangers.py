"""Checks that tests of videos and of pictures share: likeness, and refusals that give no path away."""

from pathlib import Path

import numpy as np
import pytest

from errors import InvalidVideo


def difference(frames: np.ndarray, expected: np.ndarray) -> float:
    """The mean difference of two arrays of bytes; the shapes must be the same."""
    assert frames.shape == expected.shape
    return np.abs(frames.astype(int) - expected).mean()


def assert_refused(read, path: Path, said: str = "", error: type[Exception] = InvalidVideo) -> None:
    """One line, which does not tell a client where on the server the file lies."""
    with pytest.raises(error, match=said) as caught:
        read(path)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert path.name not in message
    assert str(path.parent) not in message
