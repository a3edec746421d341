"""Arithmetic of one video with Stable Diffusion 1.5 at 512x512: ours, diffusers', the original's.

    python -m benchmarks.bench_flops

Nothing is computed but shapes: the UNet stands on torch's meta device and FlopCounterMode adds up matrix products
and convolutions, a multiply-add as two. Our pipeline and diffusers' run whole, on a UNet that answers with zeros.
The original does not install any more; its calls are those that its published loops make.

Predicted: 803 GFLOP per UNet evaluation of a frame, 2.51 TFLOP per decoded frame; evaluations in the default video
of 8 frames and 50 steps: 778 with diffusers, 1,160 with the original at its chunk of 8, 2,336 at a chunk of 2.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_zero import (
    CrossFrameAttnProcessor2_0,
    TextToVideoZeroPipeline,
)
from diffusers.utils import logging
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.full_size import AUTOENCODER, PROMPT, SCHEDULER, UNET, build_text
from benchmarks.measuring import conditions, table
from generation.schedulers import build_scheduler
from model_manager.builtin_models import PAPER_WINDOW
from pipelines.attention import cross_frame_attention
from pipelines.text_to_video import TextToVideoPipeline
from settings import TextToVideoSettings

FRAMES, STEPS, BRANCHES = 8, 50, 2
LATENT, TEXT = (4, 64, 64), (77, 768)
WINDOW_STEPS = 48  # of 50: the timesteps up to t1 = 941, from which the original denoises all frames
GIGA, TERA = 1e9, 1e12


class CountingUNet(UNet2DConditionModel):
    """A UNet of shapes alone: counts evaluations and FLOP, answers with zeros on the caller's device.

    Attention processors are set on it and run, as on any other. Within a run, a call of the same shape, of a text
    as new or known, under the same anchoring costs the same, so only the first of a kind is computed.
    """

    evaluations, flops = 0, 0
    costs: dict[Any, int]
    text: tuple[Any, Any]

    def forward(
        self, sample: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor, **_: object
    ) -> UNet2DConditionOutput:
        """Return noise of zeros for (batch, c, h, w); the same text stays the same tensor, as for a real UNet."""
        is_new = self.text[0] is not encoder_hidden_states
        if is_new:
            self.text = encoder_hidden_states, encoder_hidden_states.to("meta")
        cache = getattr(next(iter(self.attn_processors.values())), "cache", None)
        kind = (sample.shape, is_new, cache and cache.anchoring)
        if kind not in self.costs:
            counter = FlopCounterMode(display=False)
            with counter, torch.no_grad():
                super().forward(sample.to("meta"), torch.empty((), device="meta"), self.text[1])
            self.costs[kind] = counter.get_total_flops()
        self.evaluations += len(sample)
        self.flops += self.costs[kind]
        return UNet2DConditionOutput(sample=torch.zeros_like(sample))

    def count(self, run: Callable[[], Any]) -> tuple[int, int]:
        """Return evaluations and FLOP of a run."""
        self.costs, self.text = {}, (None, None)
        self.evaluations = self.flops = 0
        run()
        return self.evaluations, self.flops


def main() -> None:
    """Count, and print the tables."""
    logging.set_verbosity_error()
    print(conditions(size="512x512", frames=FRAMES, guidance="on", counted="on the meta device"))
    unet, decoded = full_size()
    unet.set_attn_processor(AttnProcessor2_0())
    evaluated = unet.count(lambda: call(unet, 1))[1]
    print(f"One UNet evaluation of a frame, as a still picture: {evaluated / GIGA:.1f} GFLOP (known: 803)  ")
    print(f"One decoded frame: {decoded / TERA:.3f} TFLOP (known: 2.51)\n")
    print(table(["per frame and branch, in a batch of 8 frames", "GFLOP", "less"], attention_rows(unet)))
    print(table(["video", "evaluations", "known", "UNet TFLOP", "with decoding", "to ours"], video_rows(unet, decoded)))


def full_size() -> tuple[CountingUNet, int]:
    """Return the UNet, and the FLOP of one decoded frame."""
    with torch.device("meta"):
        unet, autoencoder = CountingUNet(**UNET).eval(), AutoencoderKL(**AUTOENCODER).eval()
    with FlopCounterMode(display=False) as decoding, torch.no_grad():
        autoencoder.decode(torch.empty(1, *LATENT, device="meta"))
    return unet, decoding.get_total_flops()


def flops_of_default_video() -> dict[str, int]:
    """Return the FLOP of the default video, decoded, with diffusers and with ours."""
    unet, decoded = full_size()
    pipelines = both_pipelines(unet)
    return {name: unet.count(video)[1] + FRAMES * decoded for name, video in pipelines.items()}


def call(unet: CountingUNet, batch: int, text: torch.Tensor | None = None) -> None:
    """Call the UNet once for that many frames times branches."""
    unet(
        torch.empty(batch, *LATENT, device="meta"),
        0,
        torch.empty(batch, *TEXT, device="meta") if text is None else text,
    )


def attention_rows(unet: CountingUNet) -> list[tuple[str, str, str]]:
    """Return the cost of an evaluation under each kind of attention.

    Folding frames into the query axis saves copies, not FLOP; what is saved is the projection of keys and values.
    """
    batch = FRAMES * BRANCHES
    text = torch.empty(BRANCHES, *TEXT, device="meta")
    counts = {}
    unet.set_attn_processor(AttnProcessor2_0())
    counts["still pictures (diffusers)"] = unet.count(lambda: call(unet, batch))[1]
    unet.set_attn_processor(CrossFrameAttnProcessor2_0(batch_size=BRANCHES))
    counts["cross-frame attention (diffusers)"] = unet.count(lambda: call(unet, batch))[1]
    with cross_frame_attention(unet, branches=BRANCHES) as anchor, anchor.record():
        for name in ("ours, first step: K and V of one frame and one text", "ours, later steps: the text's known"):
            counts[name] = unet.count(lambda: call(unet, batch, text))[1]
        with anchor.reuse():
            counts["ours, later chunks: the anchor's known"] = unet.count(lambda: call(unet, batch, text))[1]
    full = counts["cross-frame attention (diffusers)"]
    return [(name, f"{count / batch / GIGA:.1f}", f"{1 - count / full:.1%}") for name, count in counts.items()]


def both_pipelines(unet: CountingUNet) -> dict[str, partial]:
    """Return the default video up to its latents, by diffusers and by ours, ready for further arguments."""
    parts = {"vae": AutoencoderKL(block_out_channels=(32,) * 4), **build_text(layers=1), "unet": unet}
    parts |= {"scheduler": DDIMScheduler(**SCHEDULER), "safety_checker": None, "feature_extractor": None}
    video = {"prompt": PROMPT, "video_length": FRAMES, "height": 512, "width": 512, "output_type": "latent"}
    pipelines = {"diffusers": TextToVideoZeroPipeline, "ours": TextToVideoPipeline}
    bound = {}
    for name, pipeline_class in pipelines.items():
        pipeline = pipeline_class(**parts, requires_safety_checker=False)
        pipeline.set_progress_bar_config(disable=True)
        bound[name] = partial(pipeline, **video)
    return bound


def video_rows(unet: CountingUNet, decoded: int) -> list[tuple]:
    """Return evaluations and FLOP of one video, by every scheme."""
    both = both_pipelines(unet)
    ours = both["ours"]
    default = TextToVideoSettings(prompt=PROMPT)
    counted = [
        ("ours, all at once", None, *unet.count(ours), FRAMES),
        ("ours, chunks of 2", None, *unet.count(lambda: ours(chunk_size=2)), FRAMES),
        ("diffusers", 778, *unet.count(both["diffusers"]), FRAMES),
        ("the original, chunk 8", 1160, *original(unet, 8)),
        ("the original, chunk 2", 2336, *original(unet, 2)),
    ]
    pipeline: Any = ours.func
    pipeline.scheduler = build_scheduler(default.scheduler, pipeline.scheduler.config)
    preset = partial(ours, num_inference_steps=default.num_inference_steps, motion_window=PAPER_WINDOW)
    name = f"ours, the app's default ({default.scheduler}, {default.num_inference_steps} steps)"
    counted.append((name, None, *unet.count(preset), FRAMES))
    reference = counted[0][3] + FRAMES * decoded
    return [
        (
            name,
            f"{evaluations:,}",
            "" if known is None else f"{known:,}",
            f"{flops / TERA:,.0f}",
            f"{(flops + frames * decoded) / TERA:,.0f}",
            f"{(flops + frames * decoded) / reference:.2f}",
        )
        for name, known, evaluations, flops, frames in counted
    ]


def original(unet: CountingUNet, chunk: int) -> tuple[int, int, int]:
    """Count evaluations, FLOP and decoded frames of the authors' code.

    That is Picsart-AI-Research/Text2Video-Zero, ``model.py`` ``inference`` and ``text_to_video_pipeline.py``
    ``__call__``. Chunks of ``chunk - 1`` frames, each with frame 0 before it, are videos of their own: the anchor over
    all steps, only for its latents on the way, then the whole chunk from t1 on, and all of it decoded.
    """
    unet.set_attn_processor(CrossFrameAttnProcessor2_0(batch_size=BRANCHES))

    @cache
    def batch(frames: int) -> int:
        return unet.count(lambda: call(unet, frames * BRANCHES))[1]

    evaluations = flops = decoded = 0
    for start in range(0, FRAMES, chunk - 1):
        frames = 1 + len(range(start, min(start + chunk - 1, FRAMES)))
        evaluations += BRANCHES * (STEPS + WINDOW_STEPS * frames)
        flops += STEPS * batch(1) + WINDOW_STEPS * batch(frames)
        decoded += frames
    return evaluations, flops, decoded


if __name__ == "__main__":
    main()
