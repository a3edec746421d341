"""The habits of CONTRIBUTING that can be counted hold: openings of docstrings, types, sizes."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
OPENING = re.compile(r"(What|How|Where|Whether|Which|That|Who|When)\b")
MOST_LINES, MOST_LINES_OF_TESTS, MOST_LINES_OF_A_FUNCTION, MOST_ROOT_FILES = 300, 400, 60, 14


@cache
def sources():
    """Every Python file of the project, parsed; virtual environments and hidden folders are not of it."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "outputs"))]
    own = [folder for folder in folders if not (folder / "pyvenv.cfg").exists()]
    files = sorted([*ROOT.glob("*.py"), *(path for folder in own for path in folder.rglob("*.py"))])
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in files}


def code():
    """Every node of every file but the tests, after its file's name."""
    trees = ((name, tree) for name, tree in sources().items() if not name.startswith("tests/"))
    return [(name, node) for name, tree in trees for node in ast.walk(tree)]


def body_lines(function):
    """The lines of a function without its signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) and len(function.body) > 1 else function.body
    return function.end_lineno - body[0].lineno + 1


def test_docstrings_begin_with_a_verb_or_a_noun_phrase():
    """A reader of many docstrings in a row sees at once what each thing is or does."""
    documented = [each for each in code() if isinstance(each[1], (*FUNCTIONS, ast.ClassDef, ast.Module))]
    openings = [(name, ast.get_docstring(node)) for name, node in documented if ast.get_docstring(node)]
    odd = [f"{name}: {text.splitlines()[0]}" for name, text in openings if OPENING.match(text)]
    assert len(odd) < 0.02 * len(openings), odd


def test_any_is_rare():
    """It stands at seams to untyped libraries alone."""
    functions = [(name, node) for name, node in code() if isinstance(node, FUNCTIONS)]
    given = [
        (name, function.name, argument)
        for name, function in functions
        for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
        if argument.arg not in ("self", "cls")
    ]
    loose = [
        f"{name}: {function}({argument.arg})"
        for name, function, argument in given
        if argument.annotation is not None and ast.unparse(argument.annotation) == "Any"
    ]
    assert len(loose) < 0.03 * len(given), loose


def test_files_and_functions_are_short():
    """Where one grows beyond this, it holds two ideas."""
    most = {name: MOST_LINES_OF_TESTS if name.startswith("tests/") else MOST_LINES for name in sources()}
    lengths = {name: len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in sources()}
    assert [f"{name}: {lines}" for name, lines in lengths.items() if lines > most[name]] == []
    functions = [(name, node) for name, node in code() if isinstance(node, FUNCTIONS)]
    assert [f"{n}: {f.name}" for n, f in functions if body_lines(f) > MOST_LINES_OF_A_FUNCTION] == []


def test_the_root_holds_little():
    """What a user starts or imports, and nothing else."""
    assert len(list(ROOT.glob("*.py"))) <= MOST_ROOT_FILES
