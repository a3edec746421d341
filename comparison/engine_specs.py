"""Specifications of engines as data: this program's own modes, and text-to-video pipelines of diffusers.

Settings of the pipelines are those of their makers' examples: docstrings and pages of diffusers, and model cards.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from model_manager.discovery import last_part, public_name

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class DiffusersPipeline:
    """Text-to-video pipeline of diffusers: how it is loaded, and how it is called.

    Args:
        source: a Hub id or a folder.
        kind: class of diffusers, if it is not the one that model_index.json names.
        parts: further components by name, each a class of diffusers and a Hub id or folder.
        scheduler: a class of diffusers and its options, in place of the checkpoint's own.
        dtype: precision on graphics cards, in which ``float32_parts`` stay in float32.
        call: arguments of the call: height, width, num_frames, num_inference_steps, guidance_scale, and others.
        frames: (a, b), if the lengths that it can draw are a * k + b frames.
        longest: the most frames that it can draw, if there is such a limit.
        fps: playback speed of its videos.
    """

    source: str
    kind: str | None = None
    parts: Mapping[str, tuple[str, str]] = field(default_factory=lambda: NOTHING)
    scheduler: tuple[str, Mapping[str, Any]] | None = None
    dtype: str = "float16"
    float32_parts: tuple[str, ...] = ()
    call: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    frames: tuple[int, int] = (1, 0)
    longest: int | None = None
    fps: int = 8


@dataclass(frozen=True)
class EngineSpec:
    """Specification of an engine: settings of this program, or a pipeline of diffusers.

    Args:
        name: the name in settings and reports.
        label: the name on the page.
        note: one line that says what it is, its download, and the device it needs.
        settings: "mode", and the settings that differ from that mode's defaults.
        pipeline: the pipeline of diffusers, for engines without settings.
    """

    name: str
    label: str
    note: str
    settings: Mapping[str, Any] | None = None
    pipeline: DiffusersPipeline | None = None


_ROWS = (
    EngineSpec(
        name="text2video-zero",
        label="Text2Video-Zero",
        note="An image model made to draw frames that belong together, without training (arXiv 2303.13439).",
        settings={"mode": "text_to_video"},
    ),
    EngineSpec(
        name="direct",
        label="DirecT2V",
        note=(
            "Text2Video-Zero with a prompt for every frame, an anchor that changes and a match filter (arXiv "
            "2305.14330)."
        ),
        settings={"mode": "direct", "anchors": "first", "anchor_period": 4, "match_filter": 0.05},
    ),
    EngineSpec(
        name="toyworld-video",
        label="Toy world, trained on videos",
        note="The bundled toy world's small 3D network; it knows simple shapes and figures and needs no graphics card.",
        settings={"mode": "text_to_video", "model": "toyworld-video"},
    ),
    EngineSpec(
        name="modelscope",
        label="ModelScope",
        note="A 3D network trained on videos (arXiv 2308.06571), 256x256; 4 GB to download once, wants a GPU.",
        settings={"mode": "text_to_video", "model": "ali-vilab/text-to-video-ms-1.7b"},
    ),
    EngineSpec(
        name="zeroscope",
        label="Zeroscope v2",
        note="ModelScope trained on without watermarks, 576x320; 4 GB to download once, wants a GPU with 8 GB.",
        settings={"mode": "text_to_video", "model": "cerspense/zeroscope_v2_576w"},
    ),
    EngineSpec(
        name="animatediff",
        label="AnimateDiff",
        note=(
            "A motion adapter for Stable Diffusion 1.5 (arXiv 2307.04725), on Realistic Vision 5.1, 512x512, 16 "
            "frames; 6 GB to download once, wants a GPU."
        ),
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
        name="wan2.1-1.3b",
        label="Wan 2.1 (1.3B)",
        note=(
            "A diffusion transformer trained on videos (arXiv 2503.20314), 832x480, 81 frames; 29 GB to download "
            "once, wants a GPU with 16 GB."
        ),
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
        name="ltx-video",
        label="LTX-Video (2B)",
        note=(
            "A fast diffusion transformer (arXiv 2501.00103), 704x480, 161 frames; 28 GB to download once, wants "
            "a GPU with 16 GB."
        ),
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
        name="cogvideox-2b",
        label="CogVideoX (2B)",
        note=(
            "A diffusion transformer trained on videos (arXiv 2408.06072), 720x480, 49 frames; 14 GB to download "
            "once, wants a GPU with 24 GB, and the Python packages sentencepiece and protobuf."
        ),
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
    """Return the row of a name, or of any other text a row for the diffusers pipeline with that Hub id or folder."""
    if name in ENGINES:
        return ENGINES[name]
    note, name = "A pipeline of diffusers, named by the user.", os.path.expanduser(name)
    return EngineSpec(public_name(name), last_part(name), note, pipeline=DiffusersPipeline(name))
