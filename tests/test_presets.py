"""Named settings: whose they are, and what becomes of those of an older version."""

import json
import sqlite3
from types import SimpleNamespace

import pytest
from fakes import FakeModel, started_library

import app_text_to_video
from errors import InvalidSettings
from library.clips import LOCAL
from library.database import SCHEMA, Database
from library.presets import Presets
from settings import TextToVideoSettings
from web.context import PageContext
from web.presets import _loading
from web.tabs import create_demo

SETTINGS = TextToVideoSettings(prompt="A lion walking in the jungle!", seed=7, model="toyworld", num_frames=3)


def test_presets_are_kept_by_name_and_mode(database):
    """A name taken again holds the newer settings."""
    presets = Presets(database)
    presets.keep(LOCAL, " calm ", SETTINGS.to_dict())
    presets.keep(LOCAL, "calm", {**SETTINGS.to_dict(), "seed": 9})
    assert presets.names(LOCAL, "text_to_video") == ["calm"]
    assert presets.names(LOCAL, "pix2pix") == []
    assert presets.get(LOCAL, "calm")["seed"] == 9
    for name in ("", "x" * 61, "a\nb"):
        with pytest.raises(InvalidSettings):
            presets.keep(LOCAL, name, {})
    presets.delete(LOCAL, "calm")
    with pytest.raises(InvalidSettings, match="none of this name"):
        presets.get(LOCAL, "calm")


def test_a_visitor_loads_the_operators_presets_and_changes_only_their_own(database):
    """One of the same name is the visitor's own before the operator's; nobody sees another's."""
    presets = Presets(database)
    presets.keep(LOCAL, "calm", SETTINGS.to_dict())
    presets.keep("visitor", "calm", {**SETTINGS.to_dict(), "seed": 8})
    presets.keep("visitor", "wild", SETTINGS.to_dict())
    assert presets.get("visitor", "calm")["seed"] == 8
    assert presets.get("other", "calm")["seed"] == 7
    assert presets.names("other", "text_to_video") == ["calm"]
    with pytest.raises(InvalidSettings, match="the operator's"):
        presets.delete("other", "calm")


def test_an_index_of_the_version_before_keeps_its_presets(tmp_path):
    """They become the operator's."""
    with sqlite3.connect(tmp_path / "old.sqlite3") as connection:
        connection.executescript(SCHEMA)
        connection.executescript("""
            DROP TABLE presets; CREATE TABLE presets (name TEXT PRIMARY KEY, settings TEXT NOT NULL) STRICT;
            PRAGMA user_version = 1;""")
        connection.execute("INSERT INTO presets VALUES ('calm', ?)", (json.dumps(SETTINGS.to_dict()),))
    connection.close()
    opened = Database(tmp_path / "old.sqlite3")
    assert (opened.trouble, Presets(opened).names("anybody", "text_to_video")) == ("", ["calm"])
    opened.close()


def test_a_preset_without_a_prompt_and_one_of_another_version_are_loaded(tmp_path):
    """They could be saved and never loaded: the prompt on the page stays, what is unknown here is named."""
    model = FakeModel()
    library = started_library(model, tmp_path)
    context = PageContext(library, model.rows, model.default, lambda path: {})
    create_demo(app_text_to_video.TAB, context)
    tab = context.built[0]
    library.presets.keep(LOCAL, "calm", {**SETTINGS.to_dict(), "prompt": "", "mood": 5})
    loaded = _loading(SimpleNamespace(library=library), tab.controls, tab.panel.status)(
        "calm", SimpleNamespace(session_hash=None)
    )
    library.close()
    assert loaded[tab.controls["seed"]] == 7
    assert tab.controls["prompt"] not in loaded
    assert "mood: not in this version" in loaded[tab.panel.status]
