"""Imports go one way, as the table of the design says, and importing a module does nothing heavy."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FACTS = ["settings", "parsing", "errors", "registry", "utils", "families", "memory"]
FACTS += ["prompts", "safetensors_header", "model_folders", "catalogue"]
PARTS = [
    *("video_io", "annotators", "annotators.*", "director", "chat_model", "language_model"),
    *("loading", "single_files", "adapters"),
    *("pipelines.attention", "pipelines.motion", "pipelines.predictors", "pipelines.denoising"),
    *("pipelines.noise", "pipelines.video"),
]
MODES = [
    "pipelines.trained_video",
    "pipelines.text_to_video",
    "pipelines.text_to_video_xl",
    "pipelines.controlnet",
    "pipelines.pix2pix",
]
# Each module (a pattern) and the modules of the project that it may import: section 3 of the design. The first row
# that fits counts. Being a package's __init__ gives no right to anything.
MAY_IMPORT = {
    "settings": [],
    "parsing": ["settings", "errors"],
    "errors": [],
    "registry": [],
    "prompts": [],
    "engines": ["model_folders"],
    "safetensors_header": ["errors"],
    "model_folders": ["errors", "safetensors_header"],
    "catalogue": ["errors", "registry", "prompts", "model_folders", "safetensors_header"],
    "utils": ["errors"],
    "video_io": ["errors", "video_comment"],
    "video_comment": ["errors"],
    "annotators": [],
    "annotators.*": ["annotators.base", "errors", "utils"],
    "director": ["errors"],
    "chat_model": ["errors", "utils", "director", "model_folders"],
    "language_model": ["errors", "director", "chat_model"],
    "pipelines": [],
    "pipelines.attention": [],
    "pipelines.motion": [],
    "pipelines.predictors": ["pipelines.denoising"],
    "pipelines.denoising": ["pipelines.attention"],
    "pipelines.noise": [],
    "pipelines.video": [
        *("errors", "director"),
        *(f"pipelines.{name}" for name in ("attention", "denoising", "motion", "noise")),
    ],
    "pipelines.text_to_video": [*FACTS, *PARTS],
    "pipelines.text_to_video_xl": [*FACTS, *PARTS, "pipelines.text_to_video"],
    "pipelines.trained_video": [*FACTS, *PARTS, "pipelines.text_to_video"],
    "pipelines.controlnet": [*FACTS, *PARTS],
    "pipelines.pix2pix": [*FACTS, *PARTS],
    "families": ["utils"],
    "memory": [],
    "single_files": ["errors", "utils", "safetensors_header"],
    "adapters": ["errors", "registry", "prompts", "single_files", "safetensors_header"],
    "loading": [*("registry", "errors", "utils", "families", "memory"), *("model_folders", "single_files", "adapters")],
    "reporting": ["errors", "settings"],
    "compare_settings": ["settings", "director", "evaluation.clip_scores"],
    "drawers": [
        *("compare_settings", "diffusers_engine", "director", "engines", "errors", "inputs", "model", "model_folders"),
        *("operator_options", "parsing", "reporting", "settings", "video_io"),
    ],
    # The measures are used by the program as well; they know nothing of it, see the rows of evaluation.
    "comparison": [
        *("compare_settings", "director", "drawers", "engines", "errors", "memory", "model", "prompts", "utils"),
        *("report_clips", "reporting", "results", "evaluation", "evaluation.*"),
        *("training.toyworld.clips", "training.toyworld.scene"),
        "pipelines.trained_video",
    ],
    "compare_command": [
        *("catalogue", "compare_settings", "comparison", "director", "errors", "job_request", "model"),
        *("operator_options", "parsing", "report", "evaluation.prompt_lists"),
    ],
    "compare_tab": [
        *("compare_settings", "engines", "errors", "job_runner", "jobs", "parsing", "report", "settings", "tabs"),
        *("ui", "views", "evaluation.clip_scores"),
    ],
    "app_compare": ["compare_tab"],
    "diffusers_call": ["engines", "errors", "reporting"],
    "diffusers_engine": [
        *("engines", "errors", "loading", "memory", "utils", "reporting", "model_folders", "diffusers_call"),
        "safetensors_header",
    ],
    "inputs": [*FACTS, "video_io", "annotators.*", "director", "reporting"],
    "modes": [*FACTS, *PARTS, *MODES, "inputs"],
    "model": [*FACTS, *PARTS, *MODES, "modes", "inputs", "reporting"],
    "operator_options": ["settings", "catalogue", "errors", "director", "language_model", "model_folders", "engines"],
    "jobs": ["settings"],
    "serve": ["errors", "report"],
    "views": [],
    "results": ["evaluation.statistics"],
    "report": ["results", "views", "report_*", "evaluation.statistics"],
    "report_plots": ["results", "report_tables", "evaluation.statistics"],
    "report_tables": ["results", "evaluation.statistics"],
    "report_*": ["results", "views"],
    "storyboard_table": ["director", "errors"],
    "ui": ["settings", "parsing", "errors", "jobs", "views"],
    "job_runner": ["ui", "jobs", "views", "settings", "parsing", "errors", "storyboard_table"],
    "storyboard_panel": ["ui", "views", "settings", "errors", "director", "storyboard_table"],
    "tabs": ["ui", "job_runner", "jobs", "settings", "director", "storyboard_panel"],
    "app_*": ["tabs", "settings"],
    "app": ["app_*", "tabs", "model", "comparison", "serve", "operator_options", "errors", "video_io", "director"],
    "job_request": ["settings", "parsing", "catalogue", "operator_options", "errors", "video_io", "director"],
    "inference": [
        "compare_command",
        "inputs",
        "prompts",
        "job_request",
        "settings",
        "operator_options",
        "errors",
        "model",
        "video_io",
        "director",
    ],
    "evaluation.metrics": [],
    "evaluation.statistics": [],
    "evaluation.clip_scores": ["annotators.base", "errors", "utils"],
    **{
        f"evaluation.{name}": ["evaluation.*", "training.toyworld.*"]
        for name in ("tracking", "toyworld", "prompt_lists")
    },
    # Beside the program: they may use all of it, and it uses of them what stands above.
    **{name: ["*"] for name in ("training*", "evaluation*", "benchmarks*", "notebooks*", "tests*")},
}
# A tab that runs alone is a page of one tab.
MAY_IMPORT_WHEN_RUN = {"app_*": ["app"]}
LIGHT = ["settings", "parsing", "errors", "registry", "utils", "families", "memory"]
LIGHT += ["compare_settings", "compare_command"]
LIGHT += ["video_io", "video_comment", "inference", "job_request", "director", "chat_model", "language_model"]
LIGHT += ["prompts", "safetensors_header", "model_folders", "catalogue", "single_files", "adapters", "loading"]
LIGHT += ["engines", "diffusers_call", "diffusers_engine"]
LIGHT += [f"annotators.{name}" for name in ("base", "canny", "depth", "pose")]
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


def row(table: dict[str, list[str]], module: str) -> list[str] | None:
    """The first row whose pattern fits the module."""
    return next((allowed for pattern, allowed in table.items() if fnmatchcase(module, pattern)), None)


def forbidden_imports(source: str, module: str, known: dict[str, Path]) -> set[str]:
    """What the source of a module imports although no row says that it may."""
    tree = ast.parse(source)
    guarded = [node for node in tree.body if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)]
    when_run = project_imports(ast.Module(guarded, []), module, known)
    tree.body = [node for node in tree.body if node not in guarded]
    allowed = row(MAY_IMPORT, module) or []
    allowed_when_run = [*allowed, *(row(MAY_IMPORT_WHEN_RUN, module) or [])]
    return {
        name
        for names, patterns in ((project_imports(tree, module, known), allowed), (when_run, allowed_when_run))
        for name in names
        if not any(fnmatchcase(name, pattern) for pattern in patterns)
    }


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_row_allows(module):
    """Lower layers never import higher ones, so that each can be read and tested without what is above it."""
    assert row(MAY_IMPORT, module) is not None, f"{module} has no row: say in MAY_IMPORT what it may import"
    assert forbidden_imports(MODULES[module].read_text("utf-8"), module, MODULES) == set()


@pytest.mark.parametrize(
    ("module", "source", "forbidden"),
    [
        ("parsing", "import errors", set()),
        ("settings", "def late():\n    import model", {"model"}),
        ("errors", "from parsing import parse as read", {"parsing"}),
        ("pipelines.motion", "from .attention import x", {"pipelines.attention"}),
        ("pipelines.motion", "from . import attention", {"pipelines.attention"}),
        ("pipelines.motion", "import torch, numpy, pipelines.attention", {"pipelines.attention"}),
        ("pipelines.denoising", "from pipelines import attention, motion", {"pipelines.motion"}),
        ("pipelines.text_to_video", "from pipelines.attention import x\nimport utils", set()),
        ("pipelines.text_to_video", "if True:\n    from pipelines.pix2pix import x", {"pipelines.pix2pix"}),
        ("model", "from training.toyworld import scene", {"training.toyworld.scene"}),
        ("app_pose", "import model", {"model"}),
        ("app_pose", "if __name__ == '__main__':\n    import model, app", {"model"}),
        ("training.toyworld.scene", "import model", set()),
    ],
)
def test_a_forbidden_import_is_seen(module, source, forbidden):
    """The reader of imports is not fooled by functions, packages, several names or relative forms."""
    names = [
        "settings",
        "parsing",
        "errors",
        "utils",
        "model",
        "app",
        "app_pose",
        "training.toyworld",
        "training.toyworld.scene",
    ]
    names += [f"pipelines.{name}" for name in ("attention", "motion", "denoising", "text_to_video", "pix2pix")]
    known = {name: Path(f"{name.replace('.', '/')}.py") for name in names} | {
        "pipelines": Path("pipelines/__init__.py")
    }
    assert forbidden_imports(source, module, known) == forbidden


def test_importing_does_nothing_heavy():
    """Facts, parts and the command line start in a moment: a mistake in an option is told before PyTorch is read."""
    present = [name for name in LIGHT if name in MODULES]
    code = f"import sys\nimport {', '.join(present)}\nprint(sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
