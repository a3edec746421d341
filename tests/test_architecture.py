"""Imports go one way, as the table of the design says, and importing a module does nothing heavy."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each package, or module at the root, and what else of the project it may import; its own modules it always may.
# Packages that may import the same can share a row, without importing each other. The first row that fits counts. A
# lower layer stands above a higher one, and imports nothing of it.
LAYERS = ["errors", "utils", "annotators", "settings", "media", "pipelines", "model_manager", "director", "toyworld"]
LAYERS += ["storybook"]
MAY_IMPORT = {
    "errors": [],
    "utils": ["errors"],
    "annotators": ["errors", "utils"],
    "settings": ["errors", "annotators"],
    "media": ["errors"],
    "pipelines": ["errors", "utils"],
    "model_manager": ["errors", "utils", "annotators", "settings"],
    "director": ["errors", "utils", "settings", "model_manager"],
    "toyworld storybook": ["errors", "utils", "media", "annotators"],
    "generation": LAYERS,
    "model": ["errors", "utils", "annotators", "settings", "model_manager", "generation"],
    "library": ["errors", "utils", "settings", "media"],
    "evaluation": [*LAYERS, "generation", "model"],
    "comparison": [*LAYERS, "generation", "model", "evaluation"],
    "cli": [*LAYERS, "generation", "model", "evaluation", "comparison"],
    "page_options": ["settings", "model_manager", "director", "comparison"],
    "web": [*LAYERS, "library", "generation", "model", "evaluation", "comparison", "page_options"],
    "app_*": ["settings", "web"],
    "inference": ["cli", "errors"],
    "app": ["app_*", "web", "page_options"],
}
BESIDE = ["training", "benchmarks", "tests"]  # may import everything; no row names them
# They can be imported in a moment: a mistake in an option is told before PyTorch is read.
LIGHT_PACKAGES = ["errors", "utils", "settings", "media", "model_manager", "annotators", "director", "cli", "inference"]
LIGHT = [
    f"comparison.{name}"
    for name in ("settings", "engine_specs", "options", "diffusers_call", "diffusers_loader", "diffusers_engine")
]
LIGHT += ["storybook.vocabulary", "page_options", "app"]
HEAVY = ["torch", "diffusers", "transformers", "gradio", "cv2"]


def module_of(path: Path) -> str:
    """The name under which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def project_modules() -> dict[str, Path]:
    """All Python files of the project by module name; virtual environments and hidden folders are not of it."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    own = [folder for folder in folders if not (folder / "pyvenv.cfg").exists()]
    files = [*ROOT.glob("*.py"), *(path for folder in own for path in folder.rglob("*.py"))]
    return {module_of(path): path for path in sorted(files)}


MODULES = project_modules()


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Every module, or name in a module, that is imported anywhere in the tree, inside functions as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def project_imports(tree: ast.AST, module: str, known: dict[str, Path]) -> set[str]:
    """The modules of the project among them: of each name, the longest beginning that is one."""
    is_package = module in known and known[module].name == "__init__.py"
    package = module if is_package else module.rpartition(".")[0]
    found = set()
    for name in imports(tree, package):
        parts = name.split(".")
        beginnings = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
        found |= set([beginning for beginning in beginnings if beginning in known][:1])
    return found - {module}


def room(module: str) -> str:
    """The package of a module, or the module itself at the root."""
    return module.partition(".")[0]


def allowed_imports(module: str) -> list[str] | None:
    """The row of a module's package, its own package first; None where no row fits."""
    rows = ((pattern, row) for patterns, row in MAY_IMPORT.items() for pattern in patterns.split())
    row = next((row for pattern, row in rows if fnmatchcase(room(module), pattern)), None)
    if room(module) in BESIDE:
        return ["*"]
    return None if row is None else [room(module), *row]


def forbidden_imports(source: str, module: str, known: dict[str, Path]) -> set[str]:
    """Modules that the source of a module imports although no row says that it may."""
    found = project_imports(ast.parse(source), module, known)
    return {name for name in found if not any(fnmatchcase(room(name), row) for row in allowed_imports(module) or [])}


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Nodes along one circle of a graph, the first one again at the end; empty where there is none."""
    finished: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        found: list[str] = []
        if node not in finished:
            found = next(filter(None, (walk(other, [*path, node]) for other in sorted(arrows.get(node, ())))), [])
            finished.add(node)
        return found

    return next(filter(None, (walk(node, []) for node in sorted(arrows))), [])


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_row_allows(module):
    """Lower layers never import higher ones, so that each can be read and tested without what is above it."""
    assert allowed_imports(module) is not None, f"{room(module)} has no row: say in MAY_IMPORT what it may import"
    assert forbidden_imports(MODULES[module].read_text("utf-8"), module, MODULES) == set()


def test_no_imports_run_in_a_circle():
    """Neither packages nor the modules inside one need each other both ways, not even in functions."""
    arrows = {
        name: project_imports(ast.parse(path.read_text("utf-8")), name, MODULES) for name, path in MODULES.items()
    }
    assert circle(arrows) == []
    rooms: dict[str, set[str]] = {}
    for name, others in arrows.items():
        rooms.setdefault(room(name), set()).update({room(other) for other in others} - {room(name)})
    assert circle(rooms) == []


def test_the_rows_are_few_and_none_gives_the_training_away():
    """The table is read at one look, and the program runs without what trained its checkpoints."""
    assert len(MAY_IMPORT) <= 20
    assert not {name for row in MAY_IMPORT.values() for name in row} & set(BESIDE)


@pytest.mark.parametrize(
    ("arrows", "found"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b", "c"}, "b": {"c"}}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, ["b", "c", "b"]),
    ],
)
def test_a_circle_is_seen(arrows, found):
    """A diamond is no circle."""
    assert circle(arrows) == found


@pytest.mark.parametrize(
    ("module", "source", "forbidden"),
    [
        ("settings.parsing", "import errors", set()),
        ("settings", "def late():\n    import model", {"model"}),
        ("errors", "from settings.parsing import parse as read", {"settings.parsing"}),
        ("pipelines.motion", "from .attention import x", set()),
        ("pipelines.motion", "from ..media import video_io", {"media.video_io"}),
        ("media.video_io", "import torch, numpy, pipelines.attention", {"pipelines.attention"}),
        ("media.video_io", "from pipelines import attention, motion", {"pipelines.attention", "pipelines.motion"}),
        ("pipelines.text_to_video", "from pipelines.attention import x\nimport utils", set()),
        ("pipelines.text_to_video", "if True:\n    from media.video_io import x", {"media.video_io"}),
        ("model", "from training.toyworld import denoiser", {"training.toyworld.denoiser"}),
        ("app_pose", "import model", {"model"}),
        ("app_pose", "if __name__ == '__main__':\n    import web, app", {"app"}),
        ("training.toyworld.denoiser", "import model", set()),
    ],
)
def test_a_forbidden_import_is_seen(module, source, forbidden):
    """The reader of imports is not fooled by functions, packages, several names or relative forms."""
    names = ["settings", "settings.parsing", "errors", "utils", "media", "media.video_io", "model", "app", "app_pose"]
    names += ["web", "training", "training.toyworld", "training.toyworld.denoiser", "pipelines"]
    names += [f"pipelines.{name}" for name in ("attention", "motion", "text_to_video")]
    known = {name: Path(f"{name.replace('.', '/')}.py") for name in names}
    packages = ("settings", "media", "pipelines", "web", "training", "training.toyworld")
    known |= {name: Path(f"{name.replace('.', '/')}/__init__.py") for name in packages}
    assert forbidden_imports(source, module, known) == forbidden


def test_importing_does_nothing_heavy():
    """Facts, parts and the command line start in a moment: a mistake in an option is told before PyTorch is read."""
    present = [name for name in MODULES if room(name) in LIGHT_PACKAGES or name in LIGHT]
    code = f"import sys\nimport {', '.join(present)}\nprint(sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("program", ["app.py", "inference.py"])
def test_help_is_said_before_anything_heavy_is_read(program):
    """Parsing options needs neither PyTorch nor the page's libraries, which take seconds."""
    code = "import contextlib, runpy, sys\nsys.argv = [sys.argv[1], '--help']\nsys.path.insert(0, '')\n"
    code += "with contextlib.suppress(SystemExit):\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
    code += f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code, program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.splitlines()[-1], done.stderr) == ("[]", "")
    assert "--help" in done.stdout
