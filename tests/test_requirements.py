"""Packages that are imported are required, pinned and explained, and no others."""

import ast
import re
import sys
from pathlib import Path

from packaging.requirements import Requirement
from test_architecture import MODULES, imports, room

ROOT = Path(__file__).parents[1]


def pins(file: str) -> list[Requirement]:
    """The packages that a file of requirements lists itself."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return [Requirement(line.partition("#")[0]) for line in lines if line[:1] not in "#" and not line.startswith("-r")]


PINS = pins("requirements.txt")
IMPORTED_AS = {"pillow": "PIL", "PyYAML": "yaml", "opencv-python-headless": "cv2"}
BROUGHT_ALONG = {
    "starlette": "gradio",
    "python_multipart": "gradio",
    "pydantic_core": "pydantic",
}  # parts of what a requirement's own interface is


def imported_packages() -> set[str]:
    """Top-level names that the program imports from elsewhere; tests bring their own."""
    found = set()
    for name, path in MODULES.items():
        if room(name) != "tests":
            found |= {each.partition(".")[0] for each in imports(ast.parse(path.read_text("utf-8")), "")}
    return found - {room(name) for name in MODULES} - set(sys.stdlib_module_names)


def test_requirements_are_what_is_imported():
    """Nothing is listed that is not imported, and nothing is imported that only happens to be there."""
    listed = [*PINS, *pins("requirements-training.txt")]
    required = {IMPORTED_AS.get(pin.name, pin.name.replace("-", "_")) for pin in listed}
    assert {BROUGHT_ALONG.get(name, name) for name in imported_packages()} == required


def test_every_requirement_is_pinned():
    """So that what worked together does so again."""
    assert all(re.fullmatch(r"==[\w.]+", str(pin.specifier)) for pin in PINS)


def test_the_readme_names_the_distributions_for_pictures_and_videos():
    """OpenCV and imageio come in several; which is used for what is said."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Dependencies")[2].partition("\n## ")[0]
    for name in ("opencv-python-headless", "imageio", "imageio-ffmpeg", "pillow"):
        assert f"**{name}**" in section
        assert name in {pin.name for pin in PINS}
