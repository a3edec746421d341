"""Named settings: each visitor's own, and the operator's for everybody."""

import json
from collections.abc import Mapping
from typing import Any

from errors import InvalidSettings
from library.clips import LOCAL
from library.database import Database

MOST_PRESETS = 200  # of one owner
MAX_NAME_CHARS = 60


class Presets:
    """Plain settings by owner and name, each with its mode as ``Settings.to_dict`` gives them.

    Those of LOCAL, the machine's own user, are everybody's to load and nobody else's to change.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def names(self, owner: str, mode: str) -> list[str]:
        """Return the names of a mode's presets that an owner may load."""
        query = """SELECT DISTINCT name FROM presets WHERE owner IN (?, ?) AND json_extract(settings, '$.mode') = ?
            ORDER BY name"""
        return [row["name"] for row in self.database.rows(query, (owner, LOCAL, mode))]

    def get(self, owner: str, name: str) -> dict[str, Any]:
        """Return plain settings, an owner's own before the operator's; raises InvalidSettings where there are none."""
        query = "SELECT settings FROM presets WHERE owner IN (?, ?) AND name = ? ORDER BY owner = ? LIMIT 1"
        rows = self.database.rows(query, (owner, LOCAL, name, LOCAL))
        if not rows:
            raise InvalidSettings("preset: there is none of this name any more")
        return json.loads(rows[0]["settings"])

    def keep(self, owner: str, name: str, settings: Mapping[str, Any]) -> str:
        """Keep settings under a name, in place of what had it, and return the name; raises InvalidSettings."""
        name = name.strip()
        if not name or len(name) > MAX_NAME_CHARS or not name.isprintable():
            raise InvalidSettings(f"preset: give it a name of 1 to {MAX_NAME_CHARS} signs")
        with self.database.transaction() as connection:
            query = "SELECT count(*) FROM presets WHERE owner = ? AND name != ?"
            if connection.execute(query, (owner, name)).fetchone()[0] >= MOST_PRESETS:
                raise InvalidSettings(f"preset: there are {MOST_PRESETS} already; delete one")
            values = (owner, name, json.dumps(dict(settings)))
            connection.execute("INSERT OR REPLACE INTO presets VALUES (?, ?, ?)", values)
        return name

    def delete(self, owner: str, name: str) -> None:
        """Forget an owner's preset; raises InvalidSettings where it is not theirs."""
        query = "DELETE FROM presets WHERE owner = ? AND name = ? RETURNING name"
        if not self.database.rows(query, (owner, name)):
            raise InvalidSettings("preset: this one is the operator's, or gone")
