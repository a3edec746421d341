"""Fitting the memory of a device. No graphics card is needed: plans are arithmetic, accelerate's hooks run on a
processor as well, and a card's free memory is a number that tests set."""

import dataclasses
import itertools
import time

import numpy as np
import pytest
import torch

from comparison import peak_memory
from errors import GenerationFailed
from generation import job
from model import Model
from model_manager import loader, memory
from model_manager.builtin_models import ModelRow
from model_manager.memory import MemoryPlan, load_of, make_plan, tighter
from model_manager.networks import networks_of
from model_manager.placement import placed
from pipelines.text_to_video import TextToVideoPipeline
from pipelines.video import RunOptions
from settings.parsing import parse

GB = 10**9


def load(
    weights: float, step: float, autoencoder: float, side: int, kind: str | None, decoder_bytes: int
) -> memory.Load:
    """In gigabytes, for square pictures with networks in half precision."""
    per_pixel = memory.OVERHEAD * memory.DECODER_VALUES_PER_PIXEL * decoder_bytes
    return memory.Load(
        weights=int(weights * GB),
        step=int(step * GB),
        autoencoder=int(autoencoder * GB),
        anchor=memory.ANCHOR_VALUES_PER_PIXEL[kind] * 2 * side**2,
        frame=int(memory.OVERHEAD * memory.UNET_VALUES_PER_PIXEL[kind] * 2 * side**2),
        picture=int(per_pixel * side**2),
        tile=int(per_pixel * min(side, memory.TILE_PX) ** 2),
    )


# The published checkpoints: 0.86, 0.12 and 0.08 billion parameters; 2.57, 0.12, 0.69 and 0.08 billion.
SD = load(2.13, 1.72, 0.17, 512, None, 2)
SD_LARGE = load(2.13, 1.72, 0.17, 1024, None, 2)
XL = load(6.94, 5.13, 0.34, 1024, "text_time", 4)


@pytest.mark.parametrize(
    ("wanted", "free_gb", "plan"),
    [
        (SD, 79.0, MemoryPlan(64)),
        (SD, 15.0, MemoryPlan(15)),
        (SD, 7.2, MemoryPlan(5)),
        (SD, 5.2, MemoryPlan(3)),
        (SD, 3.4, MemoryPlan(1, offload=True)),
        (SD_LARGE, 5.2, MemoryPlan(1, offload=True, tile_vae=True)),
        (XL, 79.0, MemoryPlan(35)),
        (XL, 23.0, MemoryPlan(7)),
        (XL, 15.0, MemoryPlan(4, offload=True)),
        (XL, 11.0, MemoryPlan(2, offload=True)),
        (XL, 7.2, MemoryPlan(1, offload=True, tile_vae=True)),
        (XL, 0.1, MemoryPlan(1, offload=True, tile_vae=True)),
    ],
    ids=str,
)
def test_plans_for_cards(wanted, free_gb, plan):
    """Cards of 80, 24, 16, 12, 8, 6 and 4 GB with what their drivers leave; 64 frames."""
    assert make_plan(wanted, int(free_gb * GB), 64) == plan


@pytest.mark.parametrize(
    ("wanted", "free_gb", "plan"),
    [
        (SD, 32.0, MemoryPlan(8)),
        (SD, 4.0, MemoryPlan(1)),
        (SD, 1.0, MemoryPlan(1)),
        (XL, 32.0, MemoryPlan(8)),
        (XL, 8.0, MemoryPlan(1, tile_vae=True)),
    ],
    ids=str,
)
def test_plans_for_shared_memory(wanted, free_gb, plan):
    """Weights stay where they are, since moving them would free nothing; tiles help large pictures here too."""
    assert make_plan(wanted, int(free_gb * GB), 64, shared=True) == plan


@pytest.mark.parametrize("wanted", [SD, SD_LARGE, XL])
def test_more_memory_never_makes_a_plan_more_frugal(wanted):
    """Whole pictures come before speed: what is decoded in tiles has its networks take turns first."""
    plans = [make_plan(wanted, free, 64) for free in range(GB, 40 * GB, GB // 10)]
    for before, after in itertools.pairwise(plans):
        assert (before.offload, before.tile_vae) >= (after.offload, after.tile_vae)
        assert before.chunk_size <= after.chunk_size or before.offload > after.offload
    assert all(plan.offload for plan in plans if plan.tile_vae)


def test_a_chosen_chunk_is_kept_and_never_more_than_there_are_frames():
    """What the user sets is what is tried first."""
    assert make_plan(XL, 8 * GB, 64, chunk_size=16).chunk_size == 16
    assert make_plan(SD, 80 * GB, 3).chunk_size == 3


def test_what_is_tried_after_memory_ran_out():
    """Half the frames at once, down to one; then turns; where memory is shared there is nothing more."""
    plans, plan = [], MemoryPlan(5)
    while plan is not None:
        plans.append(plan)
        plan = tighter(plan, shared=False)
    assert plans == [MemoryPlan(5), MemoryPlan(2), MemoryPlan(1), MemoryPlan(1, offload=True)]
    assert tighter(MemoryPlan(1), shared=True) is None


def test_a_plan_says_what_it_does():
    """In the log, and in a note of the clip where it is frugal."""
    assert str(MemoryPlan(1, True, True)) == (
        "1 frame at once, the parts of the model taking turns on the device, pictures decoded in tiles"
    )
    assert str(MemoryPlan(8)) == "8 frames at once"


def test_a_job_is_measured_by_its_networks(video_pipeline, control_pipeline, xl_pipeline):
    """Weights are counted as they are, frames by the picture; XL's autoencoder by the precision it computes in."""
    plain, steered = (load_of(pipeline, 128, 96) for pipeline in (video_pipeline, control_pipeline))
    controlnet = sum(weight.numel() for weight in control_pipeline.controlnet.parameters()) * 4
    assert steered.step - plain.step == steered.weights - plain.weights == controlnet
    assert load_of(video_pipeline, 256, 96).frame == 2 * plain.frame
    assert plain.tile == plain.picture
    assert load_of(video_pipeline, 1024, 512).tile * 2 == load_of(video_pipeline, 1024, 512).picture
    half = dataclasses.asdict(load_of(xl_pipeline, 64, 64))
    xl_pipeline.vae.half()
    try:
        upcast = dataclasses.asdict(load_of(xl_pipeline, 64, 64))
    finally:
        xl_pipeline.vae.float()
    assert {name for name in half if half[name] != upcast[name]} == {"weights"}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def run(pipeline, **options) -> np.ndarray:
    """A short video with whatever the pipeline takes."""
    options = {"num_inference_steps": 4, "generator": seeded(), "output_type": "uint8"} | options
    moving = np.zeros((3, 64, 64, 3), np.uint8)
    moving[1, 20:40, 20:40] = 255
    if "TextToVideo" in type(pipeline).__name__:
        size = {"height": 64, "width": 64, "video_length": 3, "motion_window": (500, 700)}
        return pipeline("a red circle", **size, first_frame=moving[1], **options).images
    return pipeline("a red circle", moving, **options).images


@pytest.mark.parametrize("name", ["video_pipeline", "xl_pipeline", "control_pipeline", "edit_pipeline"])
def test_taking_turns_changes_no_picture_and_leaves_no_hook(request, name, monkeypatch):
    """Text is encoded, pictures are encoded and decoded and every network called through methods of ours; accelerate's
    hooks see each of them, whatever the chunk. Afterwards parts that other pipelines share are as they were."""
    from accelerate.hooks import CpuOffload

    pipeline = request.getfixturevalue(name)
    networks = networks_of(pipeline.components)
    called, original = set(), CpuOffload.pre_forward
    monkeypatch.setattr(
        CpuOffload, "pre_forward", lambda self, module, *a, **k: called.add(module) or original(self, module, *a, **k)
    )
    for chunk_size in (1, 3):
        whole = run(pipeline, options=RunOptions(chunk_size=chunk_size))
        with placed(pipeline, MemoryPlan(chunk_size, offload=True), "cpu"):
            assert np.array_equal(run(pipeline, options=RunOptions(chunk_size=chunk_size)), whole)
    assert called == set(networks.values())
    assert not any(hasattr(network, "_hf_hook") for network in networks.values())


def test_a_job_that_breaks_leaves_no_hook_and_no_tile(video_pipeline):
    """The next job may have memory to spare, or be another pipeline with the same parts."""
    tiling = vars(video_pipeline.vae)["tile_sample_min_size"]
    seen = []

    def stop(*_):
        seen.append((video_pipeline.vae.use_tiling, hasattr(video_pipeline.unet, "_hf_hook")))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), placed(video_pipeline, MemoryPlan(1, True, True), "cpu"):
        run(video_pipeline, watch=stop)
    assert seen == [(True, True)]
    assert not any(hasattr(network, "_hf_hook") for network in networks_of(video_pipeline.components).values())
    assert (video_pipeline.vae.use_tiling, video_pipeline.vae.tile_sample_min_size) == (False, tiling)


def test_pictures_in_tiles_are_nearly_the_whole_ones(xl_pipeline):
    """Each tile is normalised by itself, so tiles are not exact. XL's autoencoder has tiles as large as its pictures by
    default, which would gain nothing: ours are smaller."""
    latents = torch.randn(1, 4, 80, 96, generator=seeded())
    whole, _ = xl_pipeline.decode_frames(latents)
    sizes = []
    with placed(xl_pipeline, MemoryPlan(1, tile_vae=True), "cpu"):
        handle = xl_pipeline.vae.decoder.register_forward_pre_hook(lambda _, given: sizes.append(given[0].shape[-2:]))
        tiled, _ = xl_pipeline.decode_frames(latents)
        handle.remove()
    assert max(max(size) for size in sizes) == memory.TILE_PX // 8
    assert len(sizes) == 4
    assert tiled.shape == whole.shape
    assert np.abs(tiled - whole).mean() < 0.02


def test_decoding_that_runs_out_of_memory_goes_on_in_tiles(video_pipeline, monkeypatch):
    """The denoised frames are not thrown away; in tiles there is nothing more to try."""
    vae, tries, original = video_pipeline.vae, [], video_pipeline.vae.decode

    def tight(latents, **options):
        tries.append(vae.use_tiling)
        if not vae.use_tiling:
            raise torch.OutOfMemoryError("out of memory")
        return original(latents, **options)

    monkeypatch.setattr(vae, "decode", tight)
    with placed(video_pipeline, MemoryPlan(1), "cpu"):
        images, _ = video_pipeline.decode_frames(torch.zeros(2, 4, 16, 16))
    assert images.shape == (2, 128, 128, 3)
    assert tries == [False, True, True]
    monkeypatch.setattr(vae, "decode", lambda *_, **__: (_ for _ in ()).throw(torch.OutOfMemoryError("none at all")))
    with pytest.raises(torch.OutOfMemoryError), placed(video_pipeline, MemoryPlan(1, tile_vae=True), "cpu"):
        video_pipeline.decode_frames(torch.zeros(1, 4, 16, 16))


@pytest.fixture
def model(components, tmp_path):
    """Two checkpoints, the second of which is the first again."""
    model = Model(device="cpu")
    for name in ("tiny", "other"):
        TextToVideoPipeline(**components).save_pretrained(tmp_path / name)
        model.rows[name] = ModelRow(name, name, str(tmp_path / name), "", motion_window=(500, 700))
    return model


@pytest.fixture
def card(monkeypatch):
    """The processor plays a graphics card with so many bytes free."""
    free = {"bytes": 100 * GB}
    for module in (loader, memory, job):
        monkeypatch.setattr(module, "is_shared", lambda device: False)
    monkeypatch.setattr(loader, "free_card_bytes", lambda device: free["bytes"])
    return free


def settings(**changes):
    values = {"prompt": "a red circle", "model": "tiny", "num_frames": 4, "num_inference_steps": 3, "seed": 5}
    return parse(values | changes)


def test_a_model_that_does_not_fit_takes_turns_by_itself_and_says_so(model, card):
    """The same clip with little memory as with much, and the next job with much again is told nothing."""
    much = model.generate(settings())
    assert much.notes == ()
    card["bytes"] = 10**6
    little = model.generate(settings())
    assert little.notes == (f"To fit the memory here: {MemoryPlan(1, offload=True)}.",)
    assert little.settings.chunk_size == 1
    assert np.abs(little.frames.astype(int) - much.frames).max() <= 1
    card["bytes"] = 100 * GB
    again = model.generate(settings())
    assert again.notes == ()
    assert np.array_equal(again.frames, much.frames)


def test_what_others_hold_goes_before_a_job_has_to_be_frugal(model, card, monkeypatch):
    """A checkpoint that nobody uses is let go; then this one fits."""
    model.generate(settings(model="other"))
    assert len(model.loader._held) == 1
    monkeypatch.setattr(loader, "free_card_bytes", lambda device: (100 * GB) // len(model.loader._held) ** 9)
    monkeypatch.setattr(model.loader, "budget_bytes", GB)
    clip = model.generate(settings(num_frames=2))
    assert clip.notes == ()
    assert [key[1] for key in model.loader._held] == [model.rows["tiny"].source]


def test_weights_larger_than_the_free_memory_wait_in_main_memory(components, card):
    """Loading must not fill a card to the brim, nor fail, for what will take turns there anyway."""
    asked = []
    network = type("Network", (), {"to": lambda self, device: asked.append(device) or self})()
    assert loader.settle(network, [components["unet"]], "cpu") is network
    card["bytes"] = 1000
    assert loader.settle(network, [components["unet"]], "cpu") is network
    assert asked == ["cpu"]


def test_running_out_of_memory_goes_on_with_less_and_with_turns(model, card, monkeypatch):
    """Half-way through a run whose networks take turns, and when one frame alone is too much for all of them at once.
    After each break no hook is left that the next try would add to."""
    expected, tries = model.generate(settings()).frames, []
    original = TextToVideoPipeline.__call__

    def tight(self, *arguments, options, **others):
        offloads = hasattr(self.unet, "_hf_hook")
        tries.append((options.chunk_size, offloads))

        def watch(step, frames_done, latents):
            options.watch(step, frames_done, latents)
            if step == 1 and not enough(options.chunk_size, offloads):
                raise torch.OutOfMemoryError("out of memory")

        return original(self, *arguments, options=dataclasses.replace(options, watch=watch), **others)

    monkeypatch.setattr(TextToVideoPipeline, "__call__", tight)
    enough = lambda chunk, offloads: offloads  # noqa: E731
    clip = model.generate(settings())
    assert tries == [(4, False), (2, False), (1, False), (1, True)]
    assert [note.startswith("Memory was short; went on with") for note in clip.notes] == [True] * 3
    assert np.abs(clip.frames.astype(int) - expected).max() <= 1

    tries.clear()
    card["bytes"] = 10**6
    enough = lambda chunk, offloads: chunk == 1  # noqa: E731
    clip = model.generate(settings(chunk_size=4))
    assert tries == [(4, True), (2, True), (1, True)]
    assert np.abs(clip.frames.astype(int) - expected).max() <= 1

    enough = lambda chunk, offloads: False  # noqa: E731
    with pytest.raises(GenerationFailed, match="make the picture smaller"):
        model.generate(settings())
    parts = model.loader.components(model.rows["tiny"])
    assert not any(hasattr(part, "_hf_hook") for part in parts.values())


def test_tiles_that_decoding_fell_back_on_are_noted(model, card, monkeypatch):
    """And are not left on for the next clip."""
    from diffusers import AutoencoderKL

    original = AutoencoderKL.decode

    def tight(self, latents, **options):
        if not self.use_tiling:
            raise torch.OutOfMemoryError("out of memory")
        return original(self, latents, **options)

    with monkeypatch.context() as patch:
        patch.setattr(AutoencoderKL, "decode", tight)
        assert model.generate(settings()).notes == ("Memory was short; went on decoding pictures in tiles.",)
    assert model.generate(settings()).notes == ()


@pytest.mark.skipif(not peak_memory.STATUS.exists(), reason="the system does not say how much memory is taken")
def test_the_peak_is_what_was_taken_for_a_while():
    """Memory that is free again counts; what was there before does not."""
    held = np.ones(20_000_000, np.uint8)
    peak = peak_memory.PeakMemory("cpu")
    passing = np.ones(60_000_000, np.uint8)
    time.sleep(5 * peak_memory.WATCH_EVERY_S)
    del passing
    assert 55e6 < peak.stop() < 75e6
    assert held.any()
