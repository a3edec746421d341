"""YAML as people write it by hand: texts, numbers, true and false, nothing, lists and mappings.

YAML 1.1, which PyYAML reads, also has dates, numbers to the base of sixty ("1:59:59"), binary data, sets and tags that
name types; a prompt or a name that only looks like one of them is a text here (as in YAML 1.2, where yes, no, on and
off are texts as well).
"""

from __future__ import annotations

import re
from typing import Any

import yaml

MAX_NESTING = 50
_PLAIN = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(0|[1-9][0-9]{0,300})", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]{1,300}|(0|[1-9][0-9]{0,300})(\.[0-9]{0,300})?)([eE][-+]?[0-9]{1,9})?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
}
TAG = "tag:yaml.org,2002:"
TEXT_TAGS = (None, "!", f"{TAG}str")


class _Plain:
    """Changes to a loader of PyYAML: fewer types are seen in a text, no key comes twice, and nothing is merged."""

    yaml_implicit_resolvers: Any = {
        first: [
            (f"{TAG}{kind}", re.compile(rf"(?:{pattern})\Z"))
            for kind, (pattern, signs) in _PLAIN.items()
            if first in signs
        ]
        for first in {sign for _, signs in _PLAIN.values() for sign in signs}
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; raises ConstructorError for a key twice, or one that is a list or mapping."""
        values = super().construct_mapping(node, deep)  # type: ignore[misc] # of the loader
        if len(values) < len(node.value):
            raise yaml.constructor.ConstructorError(problem="a key twice", problem_mark=node.start_mark)
        return values

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Leave the key ``<<`` as it is."""


class PlainLoader(_Plain, yaml.SafeLoader):
    """Loader of plain values for files of an operator; halves of emojis are taken, as JSON has them."""


class FastPlainLoader(_Plain, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # where it is built in
    """Loader of plain values for texts of strangers."""


def load_plain(text: str) -> Any:
    """Return the value of a YAML text; raises YAMLError and ValueError, in time and memory that grow with the text.

    Aliases are refused: a few bytes of them can mean gigabytes.
    """
    depth = 0
    for event in yaml.parse(text, Loader=PlainLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        refused = (
            (isinstance(event, yaml.AliasEvent), "an alias: write out what it stands for"),
            (getattr(event, "tag", None) not in TEXT_TAGS, "a tag: only !!str is known"),
            (depth > MAX_NESTING, "too many brackets in each other"),
        )
        for is_there, trouble in refused:
            if is_there:
                raise yaml.constructor.ConstructorError(problem=trouble, problem_mark=event.start_mark)  # type: ignore[arg-type]
    return yaml.load(text, Loader=PlainLoader)
