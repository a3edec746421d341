"""The facade, on a tiny checkpoint in a folder: files, seeds, locks, errors, and nothing left behind."""

import json
import threading

import numpy as np
import pytest
import torch
from diffusers import PNDMScheduler

from errors import Cancelled, GenerationFailed, InvalidSettings, ModelUnavailable, UserError
from generation.schedulers import build_scheduler
from media.metadata import read_metadata
from model import Model
from model_manager import builtin_models
from model_manager.hub import reachable
from pipelines.text_to_video import TextToVideoPipeline
from settings.parsing import from_json, parse
from utils import choose_dtype


@pytest.fixture(scope="session")
def checkpoint(components, tmp_path_factory):
    """A folder that looks like any downloaded checkpoint."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    TextToVideoPipeline(**components).save_pretrained(folder)
    return folder


@pytest.fixture
def model(checkpoint):
    return Model(models=[str(checkpoint)], device="cpu")


def settings(**changes):
    return parse(
        {"prompt": "a red circle", "model": "tiny", "num_frames": 3, "num_inference_steps": 4, "seed": 5} | changes
    )


def test_the_same_seed_is_the_same_video_and_travels_in_the_file(model, tmp_path):
    """What is read back from the file makes the clip again, bit for bit."""
    clip = model.generate(settings(seed=-1))
    assert clip.frames.shape == (3, 128, 128, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.settings.seed >= 0
    for name in ("clip.mp4", "clip.gif"):
        path = clip.save(tmp_path / name)
        again = from_json(read_metadata(path)["settings"])
        assert again == clip.settings
        assert np.array_equal(model.generate(again).frames, clip.frames)


def test_open_settings_are_filled_in_from_the_checkpoint(model):
    """Size, window, chunk and model of the clip are concrete, so it can be made again elsewhere."""
    done = model.generate(settings()).settings
    assert (done.width, done.height, done.model) == (128, 128, "tiny")
    assert done.motion_window == builtin_models.PAPER_WINDOW
    assert done.chunk_size == 3


def test_positive_motion_moves_what_is_seen_to_the_right(model, monkeypatch):
    """The pipeline's arguments move the camera, as in diffusers; the settings say where the object goes."""
    seen = {}
    original = TextToVideoPipeline.__call__

    def spy(self, *arguments, **options):
        seen.update(options)
        return original(self, *arguments, **options)

    monkeypatch.setattr(TextToVideoPipeline, "__call__", spy)
    model.generate(settings(motion_field_strength_x=10.0, motion_field_strength_y=-4.0))
    assert (seen["motion_field_strength_x"], seen["motion_field_strength_y"]) == (-10, 4)


def test_progress_comes_with_previews_and_ends(model):
    """Steps count up to all of them; previews are small pictures; ETA appears after the first step."""
    seen = []
    model.generate(settings(chunk_size=2), on_step=seen.append)
    assert [one.fraction for one in seen] == sorted(one.fraction for one in seen)
    assert seen[-1].step == seen[-1].total == 4
    assert seen[-1].fraction == 1
    previews = [one.preview for one in seen if one.preview is not None]
    assert previews[-1].shape == (3, 16, 16, 3)
    assert previews[-1].dtype == np.uint8
    assert seen[-1].seconds_left is not None


def test_cancel_stops_within_a_step_and_the_next_job_is_as_if_nothing_was(model):
    """The pipeline, its scheduler and the lock are fit for the next job, whose video is the same."""
    before = model.generate(settings()).frames
    cancel, seen = threading.Event(), []

    def stop(progress):
        seen.append(progress.step)
        if progress.step == 2:
            cancel.set()

    with pytest.raises(Cancelled):
        model.generate(settings(), on_step=stop, cancel=cancel)
    assert max(seen) == 2
    assert np.array_equal(model.generate(settings()).frames, before)


def test_an_error_in_the_middle_leaves_the_model_fit(model):
    """Also when the caller's own callback fails."""
    before = model.generate(settings()).frames

    def fail(progress):
        if progress.step == 1:
            raise RuntimeError("the caller's")

    with pytest.raises(RuntimeError, match="the caller's"):
        model.generate(settings(), on_step=fail)
    assert np.array_equal(model.generate(settings()).frames, before)


def test_a_waiting_job_can_be_cancelled_before_its_turn(model):
    """Jobs follow one another; who waits can leave the queue."""
    inside, go_on = threading.Event(), threading.Event()

    def hold(_):
        inside.set()
        go_on.wait(20)

    first = threading.Thread(target=model.generate, args=(settings(),), kwargs={"on_step": hold})
    first.start()
    assert inside.wait(20)
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        model.generate(settings(), cancel=cancel)
    go_on.set()
    first.join(20)


def test_many_callers_with_different_seeds_each_get_their_own(model):
    """No state is shared between jobs."""
    expected = {seed: model.generate(settings(seed=seed)).frames for seed in range(4)}
    results = {}

    def work(seed):
        results[seed] = model.generate(settings(seed=seed)).frames

    threads = [threading.Thread(target=work, args=(seed,)) for seed in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(np.array_equal(results[seed], frames) for seed, frames in expected.items())


@pytest.mark.parametrize(
    ("device", "capabilities", "dtype"),
    [
        ("cpu", {"amx_bf16": True}, torch.bfloat16),
        ("cpu", {"amx_bf16": False}, torch.float32),
        ("cpu", {"sve": True}, torch.float32),
        ("cuda:1", {}, torch.float16),
        ("mps", {}, torch.float16),
    ],
)
def test_the_precision_is_the_fastest_that_keeps_the_picture(device, capabilities, dtype, monkeypatch):
    """bfloat16 on a processor only where its matrix units know it; elsewhere it would be slower."""
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: capabilities)
    assert choose_dtype(device) == dtype


def test_a_clip_in_bfloat16_is_nearly_the_clip_in_float32(model, checkpoint, monkeypatch):
    """Everything between text and pixels works in it, a first frame's encoding included."""
    picture = np.full((128, 128, 3), 90, np.uint8)
    whole = model.generate(settings(), first_frame=picture).frames.astype(int)
    monkeypatch.setattr("model_manager.loader.choose_dtype", lambda device: torch.bfloat16)
    half = Model(models=[str(checkpoint)], device="cpu").generate(settings(), first_frame=picture).frames
    assert np.abs(half - whole).mean() < 4


def test_out_of_memory_halves_the_chunk_and_goes_on(model, monkeypatch):
    """Told in a note; the picture does not depend on the chunk. One frame that does not fit is an error with advice."""
    original = TextToVideoPipeline.__call__
    chunks = []

    def tight(self, *arguments, options, **others):
        chunks.append(options.chunk_size)
        if options.chunk_size > limit:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return original(self, *arguments, options=options, **others)

    expected = model.generate(settings(num_frames=4)).frames
    monkeypatch.setattr(TextToVideoPipeline, "__call__", tight)
    limit = 1
    clip = model.generate(settings(num_frames=4))
    assert chunks == [4, 2, 1]
    assert "1 frame at once" in clip.notes[-1]
    assert np.abs(clip.frames.astype(int) - expected).max() <= 1
    limit = 0
    with pytest.raises(GenerationFailed, match="smaller"):
        model.generate(settings())


def test_numbers_that_are_not_finite_are_an_error_and_never_a_black_video(model, monkeypatch):
    """Where float32 does not help either, the message says what to try."""
    monkeypatch.setattr(TextToVideoPipeline, "decode_frame", lambda self, *_: torch.full((1, 3, 8, 8), torch.nan))
    with pytest.raises(GenerationFailed, match="guidance"):
        model.generate(settings())


def test_a_half_precision_decoder_that_overflows_is_lifted_to_float32(video_pipeline, monkeypatch):
    """The second try is in float32, and its picture is used."""
    original, tries = TextToVideoPipeline.decode_frame, []

    def overflow(self, latents, generator):
        tries.append(self.vae.dtype)
        decoded = original(self, latents, generator)
        return decoded * torch.nan if len(tries) == 1 else decoded

    monkeypatch.setattr(TextToVideoPipeline, "decode_frame", overflow)
    images, _ = video_pipeline.decode_frames(torch.zeros(2, 4, 16, 16))
    assert np.isfinite(images).all()
    assert len(tries) == 3


def test_a_long_prompt_is_noted(model):
    """CLIP reads a fixed number of tokens; what is ignored is said."""
    clip = model.generate(settings(prompt="red circle " * 60))
    assert "ignores the rest" in clip.notes[0]


def test_too_many_pixels_for_the_checkpoint_are_refused(model):
    """The size is only known once the checkpoint is; the bound holds all the same."""
    with pytest.raises(InvalidSettings, match="too much at once"):
        model.generate(settings(num_frames=1024, width=2048))


@pytest.mark.parametrize("name", ["zz", "../../evil", "/etc/passwd", "https://evil", "user/repo@main"])
def test_only_listed_models_are_taken(model, name):
    """A client chooses among what the operator allows."""
    with pytest.raises(ModelUnavailable, match="must be auto or one of"):
        model.generate(settings(model=name))


def test_bad_checkpoints_are_one_clear_line_and_the_good_one_still_works(checkpoint, tmp_path):
    """Pickles, other kinds of model, missing files, ids that cannot be reached; no path in the message."""
    pickled = tmp_path / "evil.ckpt"
    pickled.write_bytes(b"\x80\x04.")
    other = tmp_path / "sd3"
    other.mkdir()
    (other / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusion3Pipeline"}))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model_index.json").write_text((checkpoint / "model_index.json").read_text())
    garbage = tmp_path / "garbage.safetensors"
    garbage.write_bytes(b"not a checkpoint")
    empty = tmp_path / "empty"
    empty.mkdir()
    names = {path.name: str(path) for path in (pickled, other, broken, garbage, empty)}
    model = Model(models=[str(checkpoint), *names.values(), "nobody/no-such-model"], device="cpu")
    for name in [*names, "nobody/no-such-model"]:
        with pytest.raises(ModelUnavailable) as caught:
            model.generate(settings(model=name))
        message = str(caught.value)
        assert name in message
        assert str(tmp_path) not in message
        assert "\n" not in message
    assert model.generate(settings()).frames.shape == (3, 128, 128, 3)


def test_switching_models_never_shows_another_ones_picture(checkpoint, components, tmp_path):
    """A, B, A: the third video is the first again."""
    torch.manual_seed(9)
    other = {**components, "unet": type(components["unet"]).from_config(components["unet"].config).eval()}
    TextToVideoPipeline(**other).save_pretrained(tmp_path / "other")
    model = Model(models=[str(checkpoint), str(tmp_path / "other")], device="cpu")
    first, second, third = (model.generate(settings(model=name)).frames for name in ("tiny", "other", "tiny"))
    assert np.array_equal(first, third)
    assert not np.array_equal(first, second)


def test_a_hub_that_does_not_answer_is_not_in_reach(monkeypatch):
    """Refused connections and names that cannot be asked for are a plain no, so that the page starts offline."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert not reachable("a/b", timeout_s=1)
    assert not reachable("a b\n", timeout_s=1)


def test_a_named_model_is_the_default(checkpoint):
    """What the operator starts the program with is what "auto" means."""
    row, why = Model(models=[str(checkpoint)], default=str(checkpoint)).default()
    assert row.name == "tiny"
    assert "named" in why


def test_schedulers_have_their_own_spacing_on_a_checkpoint_that_says_nothing(components):
    """Stable Diffusion 1.5 is saved with PNDM's short config; dpm++ must then begin at the noisiest timestep, as the
    still pipeline with that scheduler does."""
    config = PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1).config
    scheduler = build_scheduler("dpm++ 2m", config)
    scheduler.set_timesteps(20)
    assert scheduler.timesteps[0] == 999


def test_an_absent_device_is_a_user_error():
    """Said in one line that lists what there is."""
    with pytest.raises(UserError, match="cpu"):
        Model(device="abacus").loader  # noqa: B018 - the property is what is tested


def test_the_default_is_the_toy_world_without_a_graphics_card(monkeypatch):
    """And the reason is said."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    row, why = Model().default()
    assert row is builtin_models.TOYWORLD
    assert "CUDA" in why
