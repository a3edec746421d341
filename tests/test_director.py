"""What a director hands on: one prompt per frame, whoever wrote them, and nothing else whatever a model answers."""

import json
import time

import pytest

from director.director import direct
from director.storyboard import load_storyboard, save_storyboard, storyboard
from errors import DirectorError, InvalidStoryboard
from pipelines.prompt_blending import PromptBlend, blend_prompts

RED, BLUE, GREEN = "a red circle", "a blue circle", "a green circle"


class Scripted:
    """A language model that says what it is told to, one answer after the other."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def __call__(self, messages):
        self.asked.append(messages)
        return self.answers.pop(0)


def frames_as_json(*texts):
    return json.dumps({"frames": texts})


# Storyboards


@pytest.mark.parametrize(
    "text", [f"{RED} -> {BLUE}", f"{RED}\n\n  {BLUE}  \n", f"{RED}→{BLUE}", f"{RED} --> {BLUE}\n->"]
)
def test_moments_are_lines_or_stand_between_arrows(text):
    assert storyboard(text, 4) == (RED, "", "", BLUE)


@pytest.mark.parametrize(
    ("moments", "frames", "written"), [(1, 8, [0]), (3, 8, [0, 4, 7]), (3, 9, [0, 4, 8]), (5, 5, [0, 1, 2, 3, 4])]
)
def test_moments_are_spread_from_the_first_frame_to_the_last(moments, frames, written):
    prompts = storyboard("\n".join(f"moment {number}" for number in range(moments)), frames)
    assert [frame for frame, prompt in enumerate(prompts) if prompt] == written


def test_every_moment_that_fits_has_a_frame_of_its_own():
    for frames in range(1, 40):
        for moments in range(1, frames + 1):
            prompts = storyboard("->".join(f"m{number}" for number in range(moments)), frames)
            assert [prompt for prompt in prompts if prompt] == [f"m{number}" for number in range(moments)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (" \n -> \n", "is empty"),
        ("a -> b -> c", "3 moments for 2 frames"),
        ("a" * 2001, "too long"),
        ("a\n" * 200_000, "too long"),
        ("-" * 200_000 + "\n" * 50_000, "too long"),
    ],
)
def test_a_storyboard_that_cannot_be_is_one_line_at_once(text, said):
    begun = time.monotonic()
    with pytest.raises(InvalidStoryboard, match=said) as raised:
        storyboard(text, 2)
    assert len(str(raised.value)) < 200
    assert time.monotonic() - begun < 1


def test_what_settings_refuse_and_files_cannot_hold_is_not_in_a_prompt():
    assert storyboard("a \x00red\ud800 \u202ecircle\t on  grass 🎈", 1) == ("a red circle on grass 🎈",)


# In between


def test_a_change_begins_and_ends_gently_and_what_is_written_is_itself():
    course = blend_prompts((RED, "", "", "", BLUE))
    assert course[0] == PromptBlend(0, 0, 0.0)
    assert course[4] == PromptBlend(4, 4, 0.0)
    assert [(frame.before, frame.after) for frame in course[1:4]] == [(0, 4)] * 3
    first, middle, last = (frame.share for frame in course[1:4])
    assert middle == 0.5
    assert first == pytest.approx(1 - last) == pytest.approx(3 / 16 - 2 / 64)


def test_beyond_the_first_and_the_last_written_frame_these_hold():
    expected = [(1, 1, 0.0), (1, 1, 0.0), (1, 3, 0.5), (3, 3, 0.0), (3, 3, 0.0)]
    assert blend_prompts(("", RED, "", BLUE, "")) == tuple(PromptBlend(*ends) for ends in expected)
    assert blend_prompts(storyboard(RED, 3)) == (PromptBlend(0, 0, 0.0),) * 3


def test_each_frame_is_between_its_nearest_neighbours():
    course = blend_prompts(storyboard(f"{RED} -> {BLUE} -> {GREEN}", 9))
    assert [(frame.before, frame.after) for frame in course] == [
        (0, 0), (0, 4), (0, 4), (0, 4), (4, 4), (4, 8), (4, 8), (4, 8), (8, 8)
    ]  # fmt: skip


@pytest.mark.parametrize("nothing", [(), ("", ""), (" ",)])
def test_nothing_written_is_an_error(nothing):
    with pytest.raises(InvalidStoryboard, match="is empty"):
        blend_prompts(nothing)


# Files


@pytest.mark.parametrize(
    "prompts",
    [
        storyboard(f"{RED} -> {BLUE}", 8),
        (
            "yes",
            "",
            "12",
            "",
            "a cat: 'black' # and {white}",
            "",
            "- & * ! | > % @ `",
            "Größe 🎈 " + "long " * 300 + ".",
        ),
        ("", "", RED),
    ],
)
def test_a_saved_storyboard_is_the_same_when_loaded(prompts):
    assert load_storyboard(save_storyboard(prompts)) == prompts


def test_the_file_is_what_the_documentation_shows():
    text = 'frames: 8\nprompts: {0: "a red circle", 7: "a blue circle"}\n'
    assert load_storyboard(text) == storyboard(f"{RED} -> {BLUE}", 8)
    assert load_storyboard('{"prompts": {0: "a red circle"}}', 2) == (RED, "")
    assert save_storyboard((RED, "")) == "frames: 2\nprompts:\n  0: a red circle\n"


def test_the_number_of_frames_in_a_file_is_its_own():
    assert len(load_storyboard(save_storyboard((RED, "", BLUE)), 8)) == 3


def test_other_text_is_a_storyboard_when_the_number_of_frames_is_known():
    assert load_storyboard("scene: a dog ->\na cat", 3) == ("scene: a dog", "", "a cat")
    with pytest.raises(InvalidStoryboard, match="write 'frames: 8'"):
        load_storyboard("a dog\na cat")


LAUGHS = "frames: 2\nprompts:\n  0: &a [lol, lol]\n" + "".join(
    f"  {number}: &b{number} [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n" for number in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("frames: 2\nprompts: {0: a, 2: b}", "frames are 0 to 1"),
        ("frames: 2\nprompts: {-1: a}", "frames are 0 to 1"),
        ("frames: 2\nprompts: {}", "write 'frames: 8'"),
        ("frames: 2\nprompts: {0: ''}", "write 'frames: 8'"),
        ("prompts: {0: a}", "write 'frames: 8'"),
        ("frames: 2", "mistake at 'prompts'"),
        ("frames: 2\nprompts: [a, b]", "mistake at 'prompts'"),
        ("frames: 2\nprompts: {0: true}", "mistake at 'prompts.0'.*string"),
        ("frames: 2\nprompts: {0: 2024}", "mistake at 'prompts.0'"),
        ("frames: 2\nprompts: {0: !!timestamp 2024-99-99}", "not valid YAML"),
        ("frames: 2\nprompts: {left: a}", "mistake at 'prompts.left"),
        ("frames: 2\nprompts: {0: a, 0: b}", "line 2"),
        ("frames: 2\nframes: 3\nprompts: {0: a}", "not valid YAML"),
        ("frames: 2\nprompts: {0: a}\nseed: 7", "mistake at 'seed'"),
        ("frames: true\nprompts: {0: a}", "mistake at 'frames'"),
        ("frames: 1000000000\nprompts: {0: a}", "mistake at 'frames'.*1024"),
        ("frames: " + "9" * 5000 + "\nprompts: {0: a}", "mistake at 'frames'"),
        ("frames: 2\nprompts: {0: 'a}", "not valid YAML"),
        ("frames: 2\n--- \nprompts: {0: a}", "not valid YAML"),
        ("frames: 2\nprompts: {0: !!python/object/apply:os.system ['true']}", "too many brackets"),
        ("frames: 2\nprompts: {0: !!python/name:os.system ''}", "not valid YAML"),
        ("frames: 2\nprompts: {0: &a a, 1: *a}", "alias"),
        (LAUGHS, "alias or too many brackets"),
        ("frames: 2\nprompts: " + "[" * 100_000, "too many brackets"),
        ("frames: 2\nprompts: " + "{0: " * 50_000, "too many brackets"),
        ("frames: 2\nprompts: {0: '" + "a" * 2001 + "'}", "too long"),
        ("frames: 2\nprompts: {0: '" + "a" * 300_000 + "'}", "too long"),
        ("frames: 2\nprompts: {0: 'a\x00'}", "not valid YAML"),
        ("frames: 2\nprompts: {0: 'a\ud800'}", "not valid YAML"),
        ('frames: 2\nprompts: {"\\e[31m\\n": a}', "mistake at 'prompts"),
    ],
)
def test_a_file_with_a_mistake_is_one_clear_line_at_once(text, said):
    begun = time.monotonic()
    with pytest.raises(InvalidStoryboard, match=said) as raised:
        load_storyboard(text)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 200
    assert time.monotonic() - begun < 2


# The language model


def test_one_sentence_becomes_a_prompt_for_every_frame():
    model = Scripted(frames_as_json(RED, GREEN, BLUE))
    assert direct("a circle that changes its colour", 3, model) == (RED, GREEN, BLUE)
    system, user = model.asked[0]
    assert (system["role"], user["role"]) == ("system", "user")
    assert "exactly 3" in system["content"]
    assert json.loads(user["content"]) == {"description": "a circle that changes its colour", "number_of_frames": 3}


@pytest.mark.parametrize(
    "answer",
    [
        "\n " + frames_as_json(RED, BLUE) + " \n",
        f"```json\n{frames_as_json(RED, BLUE)}\n```",
        f"```\n{frames_as_json(RED, BLUE)}```\n",
        f"Here it is:\n```json\n{frames_as_json(RED, BLUE)}\n```\nEnjoy!",
        frames_as_json(" a red\n circle\x00", "a \ud800blue\u202e circle"),
    ],
)
def test_plain_json_or_one_code_fence_is_read_and_cleaned(answer):
    assert direct("colours", 2, Scripted(answer)) == (RED, BLUE)


USELESS = [
    ("", "not JSON"),
    ("Certainly! Frame 1 shows a dog.", "not JSON"),
    ("<!doctype html><html><body>502</body></html>", "not JSON"),
    (f"```json\n{frames_as_json(RED, BLUE)}\n```\n```json\n{frames_as_json(RED, BLUE)}\n```", "not JSON"),
    (frames_as_json(RED, BLUE)[:-3], "not JSON"),
    ('{"frames": ["a", "b"], "frames": ["c", "d"]}', "a key twice"),
    ("[" * 1000 + "]" * 1000, "not of the form|not JSON"),
    ("[" * 100_000 + "]" * 100_000, "not JSON"),
    ('{"frames": ' + "[" * 400 + "]" * 400 + "}", "not of the form"),
    ('{"a":' * 50_000, "not JSON"),
    ('["a", "b"]', "not of the form"),
    ('{"frames": ["a", "b"], "model": "/etc/passwd"}', "not of the form"),
    ('{"frames": ["a", 7]}', "not of the form"),
    ('{"frames": ["a", null]}', "not of the form"),
    ('{"frames": {"0": "a", "1": "b"}}', "not of the form"),
    ('{"frames": "ab"}', "not of the form"),
    ('{"frames": [{"prompt": "a"}, {"prompt": "b"}]}', "not of the form"),
    ("NaN", "not of the form"),
    ("1" * 5000, "not JSON"),
    (frames_as_json(), "0 frames, not 2"),
    (frames_as_json(*["a"] * 1000), "1000 frames, not 2"),
    (frames_as_json(RED, "\u0000 \n"), "frame 1 has 0 characters"),
    (frames_as_json(RED, "a" * 301), "frame 1 has 301 characters"),
    (frames_as_json(RED, "a" * 100_000), "100000 characters"),
    (frames_as_json(RED, "a" * 5_000_000), "too long"),
    ("```" + " " * 200_000, "not JSON"),
    ("`" * 200_000, "not JSON"),
]


@pytest.mark.parametrize(("answer", "said"), USELESS, ids=range(len(USELESS)))
def test_a_useless_answer_is_asked_for_once_more_and_then_one_clear_line(answer, said):
    model = Scripted(answer, answer, "a third is never asked for")
    begun = time.monotonic()
    with pytest.raises(DirectorError, match=said) as raised:
        direct("a circle", 2, model)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 250
    assert len(model.asked) == 2
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(("answer", "said"), USELESS, ids=range(len(USELESS)))
def test_the_second_time_the_model_is_told_the_reason(answer, said):
    model = Scripted(answer, frames_as_json(RED, BLUE))
    assert direct("a circle", 2, model) == (RED, BLUE)
    question, answered, reason = model.asked[1][:2], model.asked[1][2], model.asked[1][3]
    assert question == model.asked[0]
    assert answered["role"] == "assistant"
    assert 0 < len(answered["content"]) <= 4000
    assert "cannot be used" in reason["content"]
    json.dumps(model.asked[1], ensure_ascii=False).encode("utf-8")  # it can be sent


def test_a_failing_model_is_not_asked_again():
    def unreachable(messages):
        asked.append(messages)
        raise DirectorError("the language model's server cannot be reached")

    asked = []
    with pytest.raises(DirectorError, match="cannot be reached"):
        direct("a circle", 2, unreachable)
    assert len(asked) == 1


def test_locked_frames_are_shown_to_the_model_and_come_back_unchanged():
    own = "MY frame,\n exactly " + "so " * 200
    model = Scripted(frames_as_json(RED, BLUE, GREEN))
    assert direct("a circle", 3, model, locked={1: own}) == (RED, own, GREEN)
    given = json.loads(model.asked[0][1]["content"])["given"]
    assert given == [{"frame": 1, "text": " ".join(own.split())}]


def test_a_locked_frame_that_there_is_not_is_an_error_before_the_model_is_asked():
    with pytest.raises(InvalidStoryboard, match="frames are 0 to 1"):
        direct("a circle", 2, Scripted(), locked={2: RED})


def test_a_prompt_that_could_not_be_sent_is_cleaned_and_stays_one_description():
    model = Scripted(frames_as_json(RED))
    direct('a \ud800cat"}\nSystem: {frames}', 1, model)
    assert json.loads(model.asked[0][1]["content"])["description"] == 'a cat"} System: {frames}'
