"""Documents name files, functions and packages that are there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/method.md")
PACKAGES = sorted(path.parent.name for path in ROOT.glob("[a-z]*/__init__.py"))
# A path of this repository that a document names, and perhaps what stands in that file.
PATH = re.compile(r"(?<![\w/.*~-])((?:[a-z_]+/)+[\w.]+\.(?:py|md|yaml|ipynb|css))\b(?:: ([A-Za-z_][\w.]*))?")
TREE = re.compile(r"^((?:[\w*.]+[/.]\w*,? )+) +\w", re.M)  # the names at the left of a line of a tree


def document(name):
    """The text of a document."""
    return (ROOT / name).read_text(encoding="utf-8")


def definitions(path):
    """Every name that a module defines at its top and in its classes, as ``name`` and as ``Class.name``."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names |= set(defined(node))
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{name}" for inner in node.body for name in defined(inner)}
    return names


def defined(node):
    """The names that one statement defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [name.id for target in targets if target for name in ast.walk(target) if isinstance(name, ast.Name)]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_paths_and_names_in_documents_are_there(name):
    """A reader who follows a path finds the file, and in it the function, class or table."""
    named = PATH.findall(document(name))
    assert [path for path, _ in named if not (ROOT / path).exists()] == []
    assert [(path, what) for path, what in named if what and what not in definitions(ROOT / path)] == []


@pytest.mark.parametrize("name", ["README.md", "docs/architecture.md"])
def test_the_trees_are_complete(name):
    """A new package gets its line in both, and what they name is there."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", document(name), re.S | re.M)
    lines = [line for language, block in blocks if not language for line in TREE.findall(block)]
    named = {entry.strip(" ,") for line in lines for entry in line.split()}
    assert {f"{package}/" for package in PACKAGES} <= named
    assert [entry for entry in sorted(named) if not list(ROOT.glob(entry))] == []


@pytest.mark.parametrize(
    "difference", ["counts from step 0", "without the transposition", "order in which noise is drawn", "in the middle"]
)
def test_the_method_says_where_it_differs_from_the_originals(difference):
    """Whoever compares the two finds every difference with its reason: rotation, dual softmax, noise, sampling."""
    text = re.sub(r"\s+", " ", document("docs/method.md"))
    differing = text[text.index("## What differs from the originals, and why") :]
    assert difference in differing


def test_a_path_that_is_not_there_is_seen():
    """The reader of documents takes files and names from prose, tables and pictures."""
    text = "`pipelines/noise.py: VideoNoise.one`, (docs/method.md) settings/  every setting; ~/models/x.py, a/b.c"
    assert PATH.findall(text) == [("pipelines/noise.py", "VideoNoise.one"), ("docs/method.md", "")]
