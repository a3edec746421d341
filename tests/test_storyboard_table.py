"""The storyboard's table on the page: its rows, its buttons, and what a client may send in its place."""

import json
from dataclasses import replace

import gradio as gr
import pytest

from director.storyboard import load_storyboard, storyboard
from errors import DirectorError, InvalidStoryboard
from web.storyboard import (
    StoryboardHandlers,
    read_rows,
    resized,
    rows_of,
    rows_of_text,
    storyboard_panel,
    text_of_table,
)


def test_the_table_and_the_setting_say_the_same():
    """What is written in the rows is a storyboard in YAML, and comes back as rows."""
    prompts = storyboard("a red circle -> a blue circle", 5)
    table = {"headers": ["Frame", "Prompt", "Keep"], "data": rows_of(prompts, {0: "a red circle"})}
    assert read_rows(table) == (prompts, {0: "a red circle"})
    assert load_storyboard(text_of_table(table)) == prompts
    assert [row[1] for row in rows_of_text(text_of_table(table), 5)] == list(prompts)
    assert text_of_table({"data": rows_of([""] * 3)}) == ""
    assert text_of_table("a -> b") == "a -> b"
    longer = {"data": resized(table, 9)}
    assert read_rows(longer) == (storyboard("a red circle -> a blue circle", 9), {0: "a red circle"})


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"data": 3},
        {"data": [[0, 1, True]]},
        {"data": [["x"]]},
        {"data": [[0, "x", False]] * 2000},
        {"data": [None]},
    ],
)
def test_a_client_can_send_anything_in_place_of_the_table(table):
    """And gets one line."""
    with pytest.raises(InvalidStoryboard, match="table"):
        text_of_table(table)


@pytest.fixture
def board():
    """The table's buttons, with a language model that writes as many frames as are asked for, and what it heard."""
    heard = []

    def complete(messages):
        heard.append(messages[-1]["content"])
        wanted = json.loads(heard[-1])["number_of_frames"]
        return json.dumps({"frames": [f"frame {frame}" for frame in range(wanted)]})

    with gr.Blocks():
        panel = storyboard_panel(8, with_language_model=True)
        board = StoryboardHandlers(panel, gr.Textbox(), gr.Number(), gr.HTML(), complete)
    return board, heard


def prompts_in(board, answer):
    """What an answer puts into the table's rows."""
    return [row[1] for row in answer[board.panel.table]]


def test_moments_are_spread_and_kept_rows_stay(board):
    """A kept row is not written anew, by moments or by a language model, which is told of it."""
    board, heard = board
    table = {"data": rows_of(["", "mine", ""], {1: "mine"})}
    assert prompts_in(board, board.spread("a -> b", 3, table)) == ["a", "mine", "b"]
    assert prompts_in(board, board.ask("somebody walks", 3, table)) == ["frame 0", "mine", "frame 2"]
    assert json.loads(heard[0])["given"] == [{"frame": 1, "text": "mine"}]


@pytest.mark.parametrize(
    ("event", "arguments", "words"),
    [
        ("spread", ("", 8, {"data": []}), "write what happens"),
        ("spread", ("a -> b", None, {"data": []}), "num_frames"),
        ("spread", ("a -> b", True, {"data": []}), "num_frames"),
        ("spread", ("a -> b -> c", 2, {"data": []}), "3 moments for 2 frames"),
        ("spread", ("a", 8, {"data": [[1]]}), "table"),
        ("ask", ({"x": 1}, 8, {"data": []}), "write what happens"),
        ("ask", ("x" * 3000, 8, {"data": []}), "2000"),
        ("load", ({"path": "/etc/passwd"}, 8), "must be an uploaded file"),
        ("load", (None, 8), "choose a storyboard file"),
        ("resize", (9, {"data": 7}), "table"),
    ],
)
def test_whatever_the_buttons_are_sent_is_one_line(board, event, arguments, words):
    """And the table stays as it is."""
    board, heard = board
    answer = getattr(board, event)(*arguments)
    assert list(answer) == [board.status]
    assert words in answer[board.status]
    assert not heard


def test_a_saved_storyboard_loads_with_its_number_of_frames(board, tmp_path, monkeypatch):
    """What the upload was is deleted."""
    board, _ = board
    path = tmp_path / "mine.yaml"
    path.write_text("frames: 3\nprompts:\n  0: \"a: 'dog'\"\n  2: a cat\n")
    monkeypatch.setattr("web.storyboard.uploaded", lambda name, file: path)
    answer = board.load({"path": "x"}, 8)
    assert prompts_in(board, answer) == ["a: 'dog'", "", "a cat"]
    assert answer[board.frames] == 3
    assert not path.exists()


def test_a_language_model_that_fails_leaves_the_table(board):
    """The line says why, and moments can be spread as before."""
    board, _ = board

    def broken(messages):
        raise DirectorError("the language model's server cannot be reached: start it, or check T2V_LLM_URL")

    failing = replace(board, chat_model=broken)
    answer = failing.ask("somebody walks", 3, {"data": rows_of(["a", "", ""])})
    assert list(answer) == [board.status]
    assert "cannot be reached" in answer[board.status]
    assert prompts_in(board, failing.spread("a -> b", 2, {"data": rows_of(["", ""])})) == ["a", "b"]
