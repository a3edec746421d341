"""Memory is admitted before it is taken: a job that no processor's memory holds is refused, others are cut to fit."""

import numpy as np
import pytest
import torch

from errors import GenerationFailed
from generation.job import retried
from model_manager import free_memory, loader, memory
from model_manager.memory import MemoryPlan, activations, make_plan
from settings.parsing import parse
from utils import memory_errors

GB = 10**9
SD_UNET, SD_VAE = {"block_out_channels": [320, 640]}, {"block_out_channels": [128, 256, 512, 512]}
# Allocations that no machine grants, each with the error of another library.
TOO_MUCH = {"torch": lambda: torch.empty(2**52), "numpy": lambda: np.empty(2**52)}


def settings(**changes):
    return parse({"prompt": "a red circle", "model": "tiny", "num_inference_steps": 2, "seed": 5} | changes)


@pytest.fixture
def room(monkeypatch):
    """A machine with so much free memory."""
    free = {"bytes": 3 * GB}
    monkeypatch.setattr(loader, "available_bytes", lambda: free["bytes"])
    return free


@pytest.mark.parametrize("changes", [{"anchors": "all"}, {"model": "tiny-video"}], ids=["all anchors", "video model"])
def test_frames_that_must_be_computed_together_are_refused_before_anything_is_loaded(
    steered_model, room, changes, monkeypatch
):
    """Trying would end the process: on a processor the system kills whoever takes too much."""
    from dataclasses import replace

    video = replace(steered_model.rows["tiny"], name="tiny-video", trained_on_videos=True)
    steered_model.rows["tiny-video"] = video
    monkeypatch.setattr(steered_model.loader, "components", lambda row: pytest.fail("it was loaded"))
    with pytest.raises(GenerationFailed, match=r"all frames are computed at once.* about [\d.]+ GB, and 3.0 GB are"):
        steered_model.generate(settings(num_frames=1024, width=256, height=256, **changes))


def test_frames_that_fit_together_are_computed(steered_model, room):
    """The same request, shorter; and what the plan says is what runs."""
    clip = steered_model.generate(settings(num_frames=3, width=64, height=64, anchors="all"))
    assert clip.settings.chunk_size == 3
    assert clip.notes == ()


def test_a_control_video_that_does_not_fit_together_is_refused_when_its_size_is_known(steered_model, room):
    """Its size is the source's, so this is measured with the networks at hand."""
    room["bytes"] = 10**6
    source = np.zeros((2, 64, 64, 3), np.uint8)
    steered = parse({"prompt": "x", "model": "tiny", "control": "canny", "anchors": "all", "num_frames": 2}, "control")
    with pytest.raises(GenerationFailed, match="not enough memory"):
        steered_model.generate(steered, source)


def test_a_chosen_chunk_is_at_most_what_fits_where_trying_ends_the_process(steered_model, room):
    """On a card the user's number is tried, and an error mends it; in the machine's memory nothing would."""
    load = activations(SD_UNET, SD_VAE, (512, 512), bytes_per_value=(4, 4), weights=(4 * GB, 3 * GB, GB))
    assert make_plan(load, 9 * GB, 1024, chunk_size=1024).chunk_size == 1024
    assert make_plan(load, 9 * GB, 64, chunk_size=64, shared=True).chunk_size == 4
    assert make_plan(load, GB, 64, chunk_size=64, shared=True).chunk_size == 1
    room["bytes"] = 510 * 10**6
    clip = steered_model.generate(settings(num_frames=4, width=256, height=256, chunk_size=4))
    assert clip.settings.chunk_size < 4
    assert [note for note in clip.notes if note.startswith("To fit the memory here")]


def test_what_is_kept_of_every_frame_is_counted(room):
    """A thousand frames are a video in memory, several times over, whatever the chunk."""
    load = activations(SD_UNET, SD_VAE, (256, 256), bytes_per_value=(4, 4))
    assert make_plan(load, 2 * GB, 8, shared=True).chunk_size > make_plan(load, 2 * GB, 1024, shared=True).chunk_size
    memory.refuse_beyond(GB, load, 1024, together=False)
    with pytest.raises(GenerationFailed, match=r"this takes about 0\.9 GB, and 0\.5 GB are free"):
        memory.refuse_beyond(GB // 2, load, 1024, together=False)
    memory.refuse_beyond(None, load, 1024, together=True)  # nobody knows


def test_small_networks_take_less():
    """Counted on Stable Diffusion; the toy world's networks have a tenth of its channels and four times the latents."""
    large = activations(SD_UNET, SD_VAE, (512, 512), bytes_per_value=(2, 2))
    assert large.frame == int(memory.OVERHEAD * 260 * 2 * 512**2)
    small = activations(
        {"block_out_channels": [32]}, {"block_out_channels": [16, 32, 64]}, (512, 512), bytes_per_value=(2, 2)
    )
    assert small.frame == pytest.approx(large.frame * 0.4, rel=1e-6)
    assert small.picture == large.picture // 8


@pytest.mark.parametrize("library", TOO_MUCH)
def test_every_failed_allocation_is_out_of_memory(library):
    """PyTorch has another error for a processor's memory than for a card's, and NumPy its own."""
    tried = []

    def work(plan):
        tried.append(plan.chunk_size)
        return TOO_MUCH[library]() if plan.chunk_size > 1 else "done"

    result, plan = retried(work, MemoryPlan(4), lambda plan: memory.tighter(plan, shared=True))
    assert (result, plan.chunk_size, tried) == ("done", 1, [4, 2, 1])
    with pytest.raises(RuntimeError, match="another"), memory_errors():
        raise RuntimeError("another")


def test_the_free_memory_is_the_least_of_what_machine_container_and_limits_leave(tmp_path, monkeypatch):
    """In a container, files that were read before do not count as taken."""
    monkeypatch.setattr(free_memory, "CGROUP", tmp_path)
    monkeypatch.setattr(free_memory, "MEMORY_FACTS", tmp_path / "meminfo")
    monkeypatch.setattr(free_memory, "OWN_FACTS", tmp_path / "status")
    assert free_memory.available_bytes() is None
    (tmp_path / "meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable:    8000 kB\nHugePages_Total: 0\n")
    assert free_memory.available_bytes() == 8_192_000
    for name, text in {"max": "5000000\n", "current": "4000000\n", "stat": "anon 3\ninactive_file 1000\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert free_memory.available_bytes() == 1_001_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory.available_bytes() == 8_192_000
