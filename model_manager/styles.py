"""Styles: words around a prompt and in its negative prompt, by a name; those that ship and those of the operator.

A file of styles is YAML (names to rows) or CSV as A1111 keeps it, with the columns name, prompt and negative_prompt.
"""

import csv
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from errors import InvalidSettings
from settings import MAX_PROMPT_CHARS, check_printable
from settings.parsing import read_mapping
from settings.user_files import read_text, user_path

logger = logging.getLogger(__name__)
BUILT_IN = Path(__file__).with_name("styles.yaml")
VARIABLE = "T2V_STYLES"
SLOT = "{prompt}"  # stands for what the user wrote
COLUMNS = ("prompt", "negative_prompt")
MAX_NAME_CHARS = 100
NO_NAMES = ("", "auto", "none", "null")  # words for no style


@dataclass(frozen=True)
class Style:
    """A named style; either text may have ``{prompt}`` in it, and follows what the user wrote where it has not."""

    name: str
    prompt: str = ""
    negative_prompt: str = ""

    def around(self, prompt: str) -> str:
        """Return a prompt with the words of this style."""
        return _merged(self.prompt, prompt)

    def against(self, negative_prompt: str) -> str:
        """Return a negative prompt with the words of this style."""
        return _merged(self.negative_prompt, negative_prompt)

    def to_dict(self) -> dict[str, str]:
        """Return name and texts as they were when a clip was made, for its file."""
        return asdict(self)


def _merged(pattern: str, text: str) -> str:
    """Return the text in its place in the pattern, without a full stop or comma before a comma."""
    if not pattern:
        return text
    if not text.strip():
        return pattern.replace(SLOT, "").strip(" ,")
    if SLOT not in pattern:
        pattern = f"{SLOT}, {pattern}"
    return pattern.replace(SLOT, text.strip().rstrip(" ,.") if f"{SLOT}," in pattern else text.strip())


def read_styles(files: Iterable[str | Path] = ()) -> dict[str, Style]:
    """Return the styles that ship and those of files by name, of which the last one of a name counts.

    Raises InvalidSettings for a file that cannot be read, in one line with its name and the row.
    """
    styles: dict[str, Style] = {}
    for file in (BUILT_IN, *files):
        path = user_path(file)
        try:
            styles |= {style.name: style for style in _read(path)}
        except (InvalidSettings, OSError, ValueError, csv.Error) as error:
            not_text = isinstance(error, UnicodeDecodeError)
            reason = "is not a text in UTF-8" if not_text else getattr(error, "strerror", None) or error
            raise InvalidSettings(f"styles {path.name}: {reason}") from None
    return styles


def styles_in_root(root: Path) -> Iterator[Path]:
    """Yield the styles.csv that A1111 keeps beside its models; one that cannot be read is left out with a line."""
    for folder in (root, root.parent) if root.name == "models" else (root,):
        if (folder / "styles.csv").is_file():
            try:
                read_styles([folder / "styles.csv"])
                yield folder / "styles.csv"
            except InvalidSettings as error:
                logger.warning("left out: %s", error)


def _read(path: Path) -> Iterator[Style]:
    text = read_text(path)
    rows = _csv_rows(text) if path.suffix.lower() == ".csv" else read_mapping(text).items()
    for name, row in rows:
        yield _style(name.strip(), {"prompt": row} if isinstance(row, str) else row)


def _csv_rows(text: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield names and rows; one without words, as people write to part a list, is none."""
    table = csv.DictReader(text.splitlines(keepends=True), restval="")
    if not {"name", "prompt"} <= set(table.fieldnames or ()):
        raise InvalidSettings("must have the columns name, prompt and negative_prompt")
    for row in table:
        texts = {column: row.get(column) or "" for column in COLUMNS}
        if any(texts.values()):
            yield row["name"] or "", texts


def _style(name: str, row: object) -> Style:
    """Check one row; raises InvalidSettings."""
    if name.lower() in NO_NAMES or len(name) > MAX_NAME_CHARS:
        raise InvalidSettings(f"{name[:MAX_NAME_CHARS]!r} cannot be the name of a style")
    if not isinstance(row, Mapping) or not row or not set(row) <= set(COLUMNS):
        raise InvalidSettings(f"{name}: must have {' and '.join(COLUMNS)}, and nothing else")
    for text in (name, *row.values()):
        if not isinstance(text, str) or len(text) > MAX_PROMPT_CHARS:
            raise InvalidSettings(f"{name}: must be texts of at most {MAX_PROMPT_CHARS} characters")
        check_printable(text)
    return Style(name, **{column: text.strip() for column, text in row.items()})
