"""Named settings that the operator keeps for everybody; visitors keep theirs in their browsers."""

import json
from collections.abc import Mapping
from typing import Any

from errors import InvalidSettings
from library.database import Database

MOST_PRESETS = 200
MAX_NAME_CHARS = 60


class Presets:
    """Plain settings by name, each with its mode as ``Settings.to_dict`` gives them."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def names(self, mode: str) -> list[str]:
        """Return the names of a mode's presets."""
        query = "SELECT name FROM presets WHERE json_extract(settings, '$.mode') = ? ORDER BY name"
        return [row["name"] for row in self.database.rows(query, (mode,))]

    def get(self, name: str) -> dict[str, Any]:
        """Return plain settings; raises InvalidSettings where there is no preset of this name."""
        rows = self.database.rows("SELECT settings FROM presets WHERE name = ?", (name,))
        if not rows:
            raise InvalidSettings("preset: there is none of this name any more")
        return json.loads(rows[0]["settings"])

    def keep(self, name: str, settings: Mapping[str, Any]) -> None:
        """Keep settings under a name, in place of what had it; raises InvalidSettings."""
        name = name.strip()
        if not name or len(name) > MAX_NAME_CHARS or not name.isprintable():
            raise InvalidSettings(f"preset: give it a name of 1 to {MAX_NAME_CHARS} signs")
        with self.database.transaction() as connection:
            others = connection.execute("SELECT count(*) FROM presets WHERE name != ?", (name,)).fetchone()[0]
            if others >= MOST_PRESETS:
                raise InvalidSettings(f"preset: there are {MOST_PRESETS} already; delete one")
            connection.execute("INSERT OR REPLACE INTO presets VALUES (?, ?)", (name, json.dumps(dict(settings))))

    def delete(self, name: str) -> None:
        """Forget a preset."""
        self.database.rows("DELETE FROM presets WHERE name = ?", (name,))
