"""What can draw a video from a text, as data: this program's own modes, and pipelines of diffusers that are called as
they are.

Numbers of the others are those of their makers' examples: the docstrings and pages of diffusers, and the model cards.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from model_manager.discovery import last_part, public_name

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class DiffusersPipeline:
    """A text-to-video pipeline of diffusers that is loaded and called as it is."""

    source: str  # a Hub id or a folder
    kind: str | None = None  # class of diffusers, where it is not the one that model_index.json names
    # Further parts by name: a class of diffusers and a Hub id or folder.
    parts: Mapping[str, tuple[str, str]] = field(default_factory=lambda: NOTHING)
    # A class of diffusers and its options, where the checkpoint's own is not the right one.
    scheduler: tuple[str, Mapping[str, Any]] | None = None
    dtype: str = "float16"  # on graphics cards
    float32_parts: tuple[str, ...] = ()  # kept in float32 there
    # What it is called with: its own height, width, num_frames, num_inference_steps, guidance_scale, and further ones.
    call: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    frames: tuple[int, int] = (1, 0)  # (a, b): the lengths it can draw are a * k + b
    longest: int | None = None  # length in frames, where there is one past which it cannot draw
    fps: int = 8


@dataclass(frozen=True)
class EngineSpec:
    """One way to a video: settings of this program, or a pipeline of diffusers."""

    name: str
    label: str
    note: str  # one line: what it is, how much there is to download, what it wants
    settings: Mapping[str, Any] | None = None  # "mode", and what differs from that mode's defaults
    pipeline: DiffusersPipeline | None = None


_ROWS = (
    EngineSpec(
        "text2video-zero",
        "Text2Video-Zero",
        "An image model made to draw frames that belong together, without training (arXiv 2303.13439).",
        settings={"mode": "text_to_video"},
    ),
    EngineSpec(
        "direct",
        "DirecT2V",
        "Text2Video-Zero with a prompt for every frame, an anchor that changes and a match filter (arXiv 2305.14330).",
        settings={"mode": "direct", "anchors": "first", "anchor_period": 4, "match_filter": 0.05},
    ),
    EngineSpec(
        "toyworld-video",
        "Toy world, trained on videos",
        "The bundled toy world's small 3D network; it knows simple shapes and figures and needs no graphics card.",
        settings={"mode": "text_to_video", "model": "toyworld-video"},
    ),
    EngineSpec(
        "modelscope",
        "ModelScope",
        "A 3D network trained on videos (arXiv 2308.06571), 256x256; 4 GB to download once, wants a GPU.",
        settings={"mode": "text_to_video", "model": "ali-vilab/text-to-video-ms-1.7b"},
    ),
    EngineSpec(
        "zeroscope",
        "Zeroscope v2",
        "ModelScope trained on without watermarks, 576x320; 4 GB to download once, wants a GPU with 8 GB.",
        settings={"mode": "text_to_video", "model": "cerspense/zeroscope_v2_576w"},
    ),
    EngineSpec(
        "animatediff",
        "AnimateDiff",
        "A motion adapter for Stable Diffusion 1.5 (arXiv 2307.04725), on Realistic Vision 5.1, 512x512, 16 frames; "
        "6 GB to download once, wants a GPU.",
        pipeline=DiffusersPipeline(
            "SG161222/Realistic_Vision_V5.1_noVAE",
            kind="AnimateDiffPipeline",
            parts={"motion_adapter": ("MotionAdapter", "guoyww/animatediff-motion-adapter-v1-5-2")},
            # As the motion was trained; the image checkpoint's own betas are another curve, and clipping spoils it.
            scheduler=(
                "DDIMScheduler",
                {
                    "beta_schedule": "linear",
                    "timestep_spacing": "linspace",
                    "steps_offset": 1,
                    "clip_sample": False,
                },
            ),
            call={
                "height": 512,
                "width": 512,
                "num_frames": 16,
                "num_inference_steps": 25,
                "guidance_scale": 7.5,
            },
            longest=32,
        ),
    ),
    EngineSpec(
        "wan2.1-1.3b",
        "Wan 2.1 (1.3B)",
        "A diffusion transformer trained on videos (arXiv 2503.20314), 832x480, 81 frames; 29 GB to download once, "
        "wants a GPU with 16 GB.",
        pipeline=DiffusersPipeline(
            "Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
            dtype="bfloat16",
            float32_parts=("vae",),
            call={
                "height": 480,
                "width": 832,
                "num_frames": 81,
                "num_inference_steps": 50,
                "guidance_scale": 5.0,
            },
            frames=(4, 1),
            fps=16,
        ),
    ),
    EngineSpec(
        "ltx-video",
        "LTX-Video (2B)",
        "A fast diffusion transformer (arXiv 2501.00103), 704x480, 161 frames; 28 GB to download once, wants a GPU "
        "with 16 GB.",
        pipeline=DiffusersPipeline(
            "Lightricks/LTX-Video",
            dtype="bfloat16",
            call={
                "height": 480,
                "width": 704,
                "num_frames": 161,
                "frame_rate": 24,
                "num_inference_steps": 50,
                "guidance_scale": 3.0,
            },
            frames=(8, 1),
            fps=24,
        ),
    ),
    EngineSpec(
        "cogvideox-2b",
        "CogVideoX (2B)",
        "A diffusion transformer trained on videos (arXiv 2408.06072), 720x480, 49 frames; 14 GB to download once, "
        "wants a GPU with 24 GB, and the Python packages sentencepiece and protobuf.",
        pipeline=DiffusersPipeline(
            "zai-org/CogVideoX-2b",
            call={
                "height": 480,
                "width": 720,
                "num_frames": 49,
                "num_inference_steps": 50,
                "guidance_scale": 6.0,
            },
            # Its autoencoder gives three frames too many for lengths such as 5 or 13.
            frames=(8, 1),
            longest=49,
        ),
    ),
)
ENGINES: Mapping[str, EngineSpec] = MappingProxyType({row.name: row for row in _ROWS})


def engine_spec(name: str) -> EngineSpec:
    """A row; or for any other text a pipeline of diffusers by its Hub id or folder, of which nothing is assumed."""
    if name in ENGINES:
        return ENGINES[name]
    note = "A pipeline of diffusers, named by the user."
    return EngineSpec(public_name(name), last_part(name), note, pipeline=DiffusersPipeline(name))
