"""The command line: the same settings as everywhere, one file, and one clear line for a mistake."""

import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import inference
from cli.options import read_config
from media.metadata import read_metadata
from media.video_io import write_video
from settings import TextToVideoSettings
from settings.parsing import to_json
from tests.command_line import assert_refused, use_fake_model, write_lora

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def model(monkeypatch, tmp_path):
    """The fake in place of model.py, and a folder of its own."""
    return use_fake_model(monkeypatch, tmp_path)


def test_one_sentence_makes_one_video(model, capsys):
    """The example of the README: a file where it was wanted, and one line that says where, the seed and the time."""
    assert inference.main(["a red circle on green grass", "-o", "out.mp4", "--seed", "7"]) == 0
    assert capsys.readouterr() == ("out.mp4  seed 7  1.2 s\n", "")
    assert os.listdir() == ["out.mp4"]
    assert model.made[0].settings == TextToVideoSettings(prompt="a red circle on green grass", seed=7)


def test_what_a_video_model_draws_is_called_as_its_prompt():
    """A GIF, as in training; the second one does not replace the first."""
    for _ in range(2):
        assert inference.main(["A red circle, moving right!", "--model", "toyworld-video"]) == 0
    names = ["a-red-circle-moving-right-2.gif", "a-red-circle-moving-right.gif"]
    assert sorted(os.listdir("outputs")) == names


def test_every_setting_is_an_option(model):
    """Numbers, pairs, choices and switches arrive as what they are; both spellings of a name are one option."""
    options = "--negative-prompt blue --model toyworld --num_frames 16 --fps=8 --seed 7 --width 136 --height 72 "
    options += "--num-inference-steps 50 --guidance_scale 7 --motion-field-strength-x -3.5 --no-motion_field "
    options += "--motion_field_strength_y=-1 --motion-window 600,700 --chunk-size 4 --no-cross-frame-attention "
    options += "--lora a/style --lora-scale 0.5 --vae a/soft --anchor-period 4 --match-filter 0.1 "
    options += "--attention-blocks decoder --style anime"
    texts = ["--scheduler", "dpm++ 2m karras", "--prompt=a_b --c_d=e", "--storyboard", "a -> b"]
    assert inference.main([*options.split(), *texts, "-o", "x.gif"]) == 0
    settings = model.made[0].settings
    assert settings == TextToVideoSettings(
        prompt="a_b --c_d=e", negative_prompt="blue", model="toyworld", num_frames=16, fps=8, seed=7, width=136,
        height=72, num_inference_steps=50, guidance_scale=7, scheduler="dpm++ 2m karras", chunk_size=4,
        motion_field_strength_x=-3.5, motion_field_strength_y=-1, motion_window=(600, 700),
        cross_frame_attention=False, motion_field=False, lora="style", lora_scale=0.5, vae="soft",
        anchor_period=4, match_filter=0.1, attention_blocks="decoder", storyboard="a -> b", style="anime",
    )  # fmt: skip
    left_at_default = [name for name, value in TextToVideoSettings(prompt="x") if getattr(settings, name) == value]
    assert left_at_default == ["anchors"]  # only the first frame can rotate
    assert inference.main(["x", "--anchors", "first + previous", "-o", "x.gif"]) == 0
    assert model.made[1].settings.anchors == "first + previous"


def test_help_tells_every_setting_with_its_unit_bounds_and_default(capsys):
    """Help is made from the settings class, so a new setting is in it by itself."""
    with pytest.raises(SystemExit) as caught:
        inference.main(["--help"])
    assert caught.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    for name, field in TextToVideoSettings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in said
        assert field.description in said
    assert "[frames; 1 to 1024; default 8]" in said
    assert "[pixels; 64 to 2048; default automatic]" in said


def test_a_file_sets_what_options_do_not(model):
    """The shipped example runs as it is; an option on the command line wins over its line in the file."""
    config = str(ROOT / "config.yaml")
    assert inference.main(["--config", config, "--num-frames", "3", "-o", "x.mp4"]) == 0
    assert model.made[0].settings == TextToVideoSettings(prompt="A lion walking in the jungle", seed=7, num_frames=3)


def test_the_bare_command_makes_the_video_of_the_folders_file(model, monkeypatch):
    """As the original's did. Options alone change that video; a prompt, another file or a video ask for another."""
    shutil.copy(ROOT / "config.yaml", "config.yaml")
    assert inference.main([]) == 0
    assert model.made[0].settings == TextToVideoSettings(prompt="A lion walking in the jungle", seed=7, num_frames=8)
    assert inference.main(["--num_frames", "3", "-o", "lion.mp4"]) == 0
    assert model.made[1].settings.num_frames == 3
    assert inference.main(["a red circle", "-o", "x.mp4"]) == 0
    Path("my.yaml").write_text("prompt: a blue heart\n")
    assert inference.main(["--config", "my.yaml", "-o", "y.mp4"]) == 0
    assert inference.main(["--from", "lion.mp4", "-o", "z.mp4"]) == 0
    prompts = [made.settings.prompt for made in model.made[2:]]
    assert prompts == ["a red circle", "a blue heart", "A lion walking in the jungle"]
    assert model.made[4].settings.num_frames == 3


def test_the_folders_file_may_be_of_any_mode(model):
    """Options that only this mode has are no prompt, even before the mode is known."""
    Path("config.yaml").write_text(
        "mode: control\nprompt: a pink star\nsource: clip.mp4\nrandomize_seed: true\nseed: 7\n"
    )
    write_video(Path("clip.mp4"), np.zeros((2, 64, 64, 3), np.uint8), 4, {})
    assert inference.main(["--control", "depth", "--conditioning-scale", "0.5"]) == 0
    settings = model.made[0].settings
    assert (settings.mode, settings.control, settings.conditioning_scale) == ("control", "depth", 0.5)
    assert settings.seed != 7


def test_a_file_may_ask_for_a_random_seed_and_a_place(model):
    """randomize_seed is for those who keep a favourite seed in the file; a seed given as an option still wins."""
    Path("my.yaml").write_text(yaml.safe_dump({"prompt": "x", "seed": 7, "randomize_seed": True, "output": "a/b.gif"}))
    assert read_config(Path("my.yaml"))["seed"] == -1
    assert inference.main(["--config", "my.yaml", "--seed", "5"]) == 0
    assert read_metadata(Path("a/b.gif"))["settings"] == to_json(model.made[0].settings)
    assert model.made[0].settings.seed == 5


def test_only_the_option_replaces_a_video(capsys):
    """A file of settings run twice must not cost the first video; -o says so on purpose."""
    Path("my.yaml").write_text("prompt: x\noutput: out.mp4\n")
    assert inference.main(["--config", "my.yaml"]) == 0
    before = Path("out.mp4").read_bytes()
    assert_refused(capsys, ["--config", "my.yaml", "--num-frames", "2"], "out.mp4 is already there")
    assert Path("out.mp4").read_bytes() == before
    assert inference.main(["--config", "my.yaml", "--num-frames", "2", "-o", "out.mp4"]) == 0
    assert Path("out.mp4").read_bytes() != before


def test_without_a_name_every_video_gets_its_own(model, capsys):
    """Same seed, same second: two files all the same."""
    for _ in range(3):
        assert inference.main(["x", "--seed", "7"]) == 0
    assert len(os.listdir("outputs")) == 3
    assert all(re.fullmatch(r"\d{8}-\d{6}-7(-\d)?\.mp4", name) for name in os.listdir("outputs"))
    assert inference.main(["x"]) == 0
    drawn = model.made[-1].settings.seed
    assert re.search(rf"outputs.\d+-\d+-{drawn}\.mp4  seed {drawn}  1\.2 s\n$", capsys.readouterr().out)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.gif"])
def test_a_video_makes_itself_again(model, name):
    """What it was made with travels inside it, emoji, quotes and drawn seed; an option changes one thing."""
    prompt = 'a "red" circle: 🎬\nsecond line'
    assert inference.main([prompt, "-o", name, "--motion-window", "600,700"]) == 0
    assert inference.main(["--from", name, "-o", f"again-{name}"]) == 0
    assert inference.main(["--from", name, "-o", f"other-{name}", "--num-frames", "3"]) == 0
    first, again, other = (made.settings for made in model.made)
    assert first == again == other.model_copy(update={"num_frames": 8})
    assert (other.num_frames, first.prompt) == (3, prompt)
    assert Path(name).read_bytes() == Path(f"again-{name}").read_bytes()


def test_the_operator_may_name_any_model(model):
    """On the command line the user is the operator: a file is loaded, and known by its last part as on the page."""
    weights = Path("weights.safetensors").absolute()
    weights.touch()
    assert inference.main(["x", "--model", str(weights), "--models", "a/b", "--device", "cpu", "-o", "x.mp4"]) == 0
    made = model.made[0]
    assert made.settings.model == "weights.safetensors"
    assert made.rows["weights.safetensors"].source == str(weights)
    assert ("a/b" in made.rows, made.device) == (True, "cpu")


def test_a_video_from_anywhere_does_not_choose_what_is_loaded(model, capsys):
    """Somebody else's clip may ask for a checkpoint of theirs; only the operator lets it in."""
    metadata = {"settings": to_json(TextToVideoSettings(prompt="x", model="evil/weights", seed=7))}
    write_video(Path("clip.mp4"), np.zeros((1, 64, 64, 3), np.uint8), 4, metadata)
    assert_refused(
        capsys, ["--from", "clip.mp4", "-o", "x.mp4"], "the model 'evil/weights' is not offered: allow it with --models"
    )
    assert "evil/weights" not in model.made[0].rows
    assert inference.main(["--from", "clip.mp4", "-o", "x.mp4", "--models", "evil/weights"]) == 0
    assert inference.main(["--from", "clip.mp4", "-o", "x.mp4", "--model", "toyworld"]) == 0


def test_a_lora_by_its_path_is_known_by_its_name(model, capsys):
    """It is loaded from where the operator said, and the video says only what it is called; another's video may ask for
    what is offered, and for nothing else."""
    write_lora(Path("loras/style.safetensors"))
    assert inference.main(["x", "--lora", "loras/style.safetensors", "--lora-scale", "0.5", "-o", "x.mp4"]) == 0
    made = model.made[-1]
    assert (made.settings.lora, made.settings.lora_scale) == ("style", 0.5)
    assert made.catalogue.loras == {"style": str(Path("loras/style.safetensors").absolute())}
    assert_refused(capsys, ["--from", "x.mp4", "-o", "y.mp4"], "the LoRA 'style' is not offered: allow it with --loras")
    assert_refused(
        capsys, ["x", "-o", "y.mp4", "--lora", "missing.safetensors"], "'missing.safetensors' is not offered"
    )
    assert inference.main(["--from", "x.mp4", "-o", "y.mp4", "--loras", "loras"]) == 0
    assert inference.main(["x", "--lora", "loras", "-o", "y.mp4"]) == 0
    assert model.made[-1].settings.lora == "style"
    assert inference.main(["--from", "x.mp4", "-o", "y.mp4", "--lora", "none"]) == 0
    assert model.made[-1].settings.lora is None


def test_a_file_of_settings_names_what_is_offered(model, capsys):
    """A list or one path, LoRAs and the folders of another program."""
    write_lora(Path("ComfyUI/models/loras/style.safetensors"))
    Path("my.yaml").write_text("prompt: x\nlora: style\nmodels_root: ComfyUI\nembeddings: []\n")
    assert inference.main(["--config", "my.yaml", "-o", "x.mp4"]) == 0
    assert model.made[-1].settings.lora == "style"
    Path("my.yaml").write_text("prompt: x\nloras: 5\n")
    assert_refused(capsys, ["--config", "my.yaml", "-o", "x.mp4"], "loras: must be a text or a list of texts")


def test_remarks_go_beside_the_result(model, monkeypatch, capsys):
    """Standard output holds the result alone, for scripts."""
    monkeypatch.setattr(model, "notes", ("the prompt was cut after 77 tokens",))
    assert inference.main(["x", "-o", "x.mp4", "--seed", "7"]) == 0
    assert capsys.readouterr() == ("x.mp4  seed 7  1.2 s\n", "note: the prompt was cut after 77 tokens\n")


def test_a_terminal_sees_a_bar_with_step_and_time_left(monkeypatch, capsys):
    """It is drawn over itself and gone at the end; a pipe or log gets none of it (as all other tests here show)."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert inference.main(["x", "-o", "x.mp4"]) == 0
    drawn = capsys.readouterr().err
    assert "[############............] step 1 of 2, 1 s left" in drawn
    assert drawn.endswith("\r")
    assert "\n" not in drawn


# Other modes


def test_a_mode_has_its_own_options_and_files(model, tmp_path):
    """Edges of a video, from a picture on: what is given reaches the model, and the file remembers the rest."""
    for name in ("source.mp4", "first.png"):
        (tmp_path / name).write_bytes(b"any")
    options = "--mode control --control canny --canny-low 50 --source source.mp4 --first-frame first.png -o out.mp4"
    assert inference.main(["a red circle", *options.split()]) == 0
    assert (model.made[-1].settings.mode, model.made[-1].settings.canny_low) == ("control", 50)
    assert model.made[-1].given == {"source": Path("source.mp4"), "first_frame": Path("first.png")}
    assert inference.main(["--from", "out.mp4", "--source", "source.mp4", "-o", "again.mp4"]) == 0
    assert model.made[-1].settings == model.made[-2].settings


def test_a_mode_can_stand_in_the_file(model, tmp_path):
    """A YAML file for editing names the mode and the source."""
    (tmp_path / "source.mp4").write_bytes(b"any")
    (tmp_path / "my.yaml").write_text("mode: pix2pix\nprompt: make it night\nsource: source.mp4\n", "utf-8")
    assert inference.main(["--config", "my.yaml", "--image-guidance-scale", "2", "-o", "out.mp4"]) == 0
    assert model.made[-1].settings.image_guidance_scale == 2
    assert model.made[-1].given == {"source": Path("source.mp4")}


def test_a_mode_before_the_prompt_is_the_mode(model):
    """As in ``inference.py direct "a -> b" --frames 12``; one word alone is a prompt."""
    assert inference.main(["direct", "a -> b", "--frames", "12", "-o", "x.mp4"]) == 0
    assert (model.made[-1].settings.mode, model.made[-1].settings.num_frames) == ("direct", 12)
    assert inference.main(["direct", "-o", "x.mp4"]) == 2
    assert inference.main(["circle", "-o", "x.mp4"]) == 0
    assert model.made[-1].settings.mode == "text_to_video"


def test_a_storyboard_comes_from_a_file_with_its_number_of_frames(model, capsys):
    """Or is written out; in other modes as well."""
    Path("board.yaml").write_text("frames: 5\nprompts: {0: a dog, 4: a cat}\n")
    assert inference.main(["direct", "x", "--storyboard", "board.yaml", "-o", "x.mp4"]) == 0
    settings = model.made[-1].settings
    assert (settings.num_frames, settings.storyboard) == (5, Path("board.yaml").read_text())
    assert inference.main(["x", "--storyboard", "a dog -> a cat", "-o", "x.mp4"]) == 0
    assert model.made[-1].settings.storyboard == "a dog -> a cat"
    assert_refused(capsys, ["direct", "x", "--storyboard", "missing.yaml", "-o", "y.mp4"], "missing.yaml: No such file")


def test_a_language_model_writes_the_frames_before_the_video_is_made(model, monkeypatch, capsys):
    """Each is shown, and travels with the settings; in a mode without a director the option is a mistake."""
    asked = []

    def connect(options):
        asked.append((options.base_url, options.model, options.key))
        return lambda messages: '{"frames": ["a dog sits", "a dog runs"]}'

    monkeypatch.setattr("director.options.connect", connect)
    monkeypatch.setenv("T2V_LLM_KEY", "sk-secret")
    options = ["--llm", "http://127.0.0.1:1/v1", "--llm-model", "small", "-o", "x.mp4"]
    assert inference.main(["direct", "a dog", "--frames", "2", *options]) == 0
    assert asked == [("http://127.0.0.1:1/v1", "small", "sk-secret")]
    assert "frame 1: a dog runs" in capsys.readouterr().err
    assert "1: a dog runs" in model.made[-1].settings.storyboard
    assert_refused(capsys, ["a dog", *options[:-1], "y.mp4"], "directs in mode direct alone")
    assert_refused(capsys, ["direct", "a dog", "--frames", "3", *options[:-1], "y.mp4"], "2 frames, not 3")
    assert_refused(capsys, ["direct", "a dog", "--llm", "nonsense", "-o", "y.mp4"], "has no name")
