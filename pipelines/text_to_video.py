"""Text2Video-Zero: text to video with an image checkpoint (arXiv 2303.13439, sections 3.2 and 3.3)."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from pipelines.arguments import check_count, check_finite, check_frame_prompts, check_one
from pipelines.attention import CrossFrame
from pipelines.denoising import Predictor, Sampler, Watch, denoise
from pipelines.motion import motion_field as translation
from pipelines.noise import VideoNoise, one_generator
from pipelines.predictors import text_predictor
from pipelines.video import (
    Motion,
    RunOptions,
    VideoPipelineMixin,
    VideoPipelineOutput,
    denoise_with_motion,
)


@dataclass(frozen=True, kw_only=True)
class VideoRequest:
    """Settings of a video apart from its prompts.

    Names, units and meanings are those of the calls below; raises ValueError for values out of bounds.
    """

    video_length: int
    height: int
    width: int
    num_inference_steps: int
    eta: float
    generator: torch.Generator | list[torch.Generator] | None
    latents: torch.Tensor | None
    motion_field_strength_x: float
    motion_field_strength_y: float
    output_type: str | None
    return_dict: bool
    t0: int
    t1: int
    frame_ids: list[int] | None
    motion_window: tuple[int, int] | None
    motion_field: bool
    first_frame: np.ndarray | None
    denoising_end: float | None = None
    frame_prompts: Sequence[str] | None = None
    shared_noise: bool = False

    def __post_init__(self) -> None:
        if self.motion_window is not None and not 0 < self.motion_window[0] < self.motion_window[1]:
            raise ValueError(f"motion_window must be (from, to) with 0 < from < to, not {self.motion_window}")
        steps, t0, t1 = self.num_inference_steps, self.t0, self.t1
        if self.moving and self.motion_window is None and not 0 <= t0 < t1 < steps:
            raise ValueError(f"need 0 <= t0 < t1 < num_inference_steps, not {t0=}, {t1=}")
        check_count(video_length=self.video_length, num_inference_steps=steps)
        check_finite(
            eta=self.eta,
            denoising_end=self.denoising_end,
            motion_field_strength_x=self.motion_field_strength_x,
            motion_field_strength_y=self.motion_field_strength_y,
        )
        if self.frame_ids is not None and len(self.frame_ids) != self.video_length:
            raise ValueError(f"{len(self.frame_ids)} frame_ids for {self.video_length} frames")
        for place in self.frame_ids or ():
            check_finite(frame_ids=place)
        check_frame_prompts(self.frame_prompts, self.video_length)
        if self.denoising_end is not None and self.first_frame is not None:
            raise ValueError("a first_frame is clean at the end of the steps: leave out denoising_end")

    @property
    def moving(self) -> bool:
        """True if the frames after the first are made from it, and not from noise of their own."""
        return (self.motion_field or self.first_frame is not None) and self.video_length > 1

    def window(self, sampler: Sampler) -> tuple[int, int]:
        """Between which two steps of a scheduler the frames after the first come into being."""
        if self.motion_window is not None:
            return sampler.window(self.motion_window)
        return sampler.window_from_end(self.t0, self.t1)

    def shifts(self) -> torch.Tensor:
        """Return the shift of each frame, as ``motion.motion_field`` gives it."""
        places = self.frame_ids or range(self.video_length)
        field = translation(places, self.motion_field_strength_x, self.motion_field_strength_y)
        return field if self.motion_field else torch.zeros_like(field)

    def steps_to_do(self, sampler: Sampler, training_timesteps: int) -> int:
        """Return the number of steps before ``denoising_end``, a share of the noise."""
        end = self.denoising_end
        if end is None or not 0 < end < 1:
            return len(sampler.timesteps)
        steps = int((sampler.timesteps >= round(training_timesteps * (1 - end))).sum())
        if self.moving and steps <= self.window(sampler)[1]:
            raise ValueError(f"denoising_end ({end}) comes before the end of the motion window")
        return steps


class TextToVideoMixin(VideoPipelineMixin):
    """Text to video with any noise predictor: what the pipelines of all families of checkpoints have in common."""

    def paint(
        self, predict: Predictor, branches: int, request: VideoRequest, options: RunOptions
    ) -> VideoPipelineOutput | tuple:
        """The video that was asked for, of what ``predict`` sees in noise; raises as the calls do."""
        device = self._execution_device
        noise = VideoNoise(
            self.latent_shape(request.height, request.width), one_generator(request.generator), request.latents, device
        )
        sampler = Sampler(
            self.scheduler,
            request.num_inference_steps,
            device,
            noise.frame_generators(request.video_length, alike=request.shared_noise and not request.moving),
            request.eta,
        )
        window = request.window(sampler) if request.moving else (0, 0)
        sampler.stop_after(request.steps_to_do(sampler, self.scheduler.config.num_train_timesteps))
        if request.first_frame is not None:
            sampler.pin(self.encode_first_frame(request.first_frame, request.height, request.width), noise.anchor)

        with self.loop(self.unet, branches=branches, sampler=sampler, options=options) as plan:
            if request.moving:
                video = denoise_with_motion(predict, sampler, noise, Motion(request.shifts(), *window), plan)
            else:
                start = noise.start(request.video_length, shared=request.shared_noise) * sampler.init_noise_sigma
                sampler.join(0)
                video = denoise(predict, sampler, start, range(len(sampler.timesteps)), plan)

        output = self.finish(video, sampler, options.watch, request.output_type)
        return output if request.return_dict else self.as_tuple(output)

    def as_tuple(self, output: VideoPipelineOutput) -> tuple:
        """Return the tuple of a call with ``return_dict=False``, as the ancestors do."""
        return output.images, output.nsfw_content_detected


class TextToVideoPipeline(TextToVideoMixin, StableDiffusionPipeline):
    """A Stable Diffusion pipeline whose call makes a video; loads and saves like its parent.

    A drop-in for diffusers' deprecated ``TextToVideoZeroPipeline``: the same arguments and defaults, and equal latents
    from the same CPU generator, with eta 0 and guidance on. (Noise is drawn frame by frame here, which is the
    same as all at once where a frame's latents are a multiple of 16 numbers, as for sides in multiples of 16 pixels.)
    Frame 0 is what ``StableDiffusionPipeline`` draws with the same seed.
    """

    @torch.no_grad()
    def __call__(  # noqa: PLR0913 - the arguments of the class it replaces
        self,
        prompt: str | list[str],
        video_length: int = 8,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        negative_prompt: str | list[str] | None = None,
        num_videos_per_prompt: int = 1,
        eta: float = 0.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        motion_field_strength_x: float = 12,
        motion_field_strength_y: float = 12,
        output_type: str | None = "tensor",
        return_dict: bool = True,
        callback: Callable[[int, int, torch.Tensor], None] | None = None,
        callback_steps: int = 1,
        t0: int = 44,
        t1: int = 47,
        frame_ids: list[int] | None = None,
        *,
        motion_window: tuple[int, int] | None = None,
        chunk_size: int | None = None,
        cross_frame_attention: bool = True,
        motion_field: bool = True,
        first_frame: np.ndarray | None = None,
        frame_prompts: Sequence[str] | None = None,
        shared_noise: bool = False,
        cancel: threading.Event | None = None,
        watch: Watch | None = None,
        options: RunOptions | None = None,
    ) -> VideoPipelineOutput | tuple:
        """Make a video.

        Args:
            prompt, negative_prompt: one text each (or a list of one).
            video_length: frames.
            height, width: pixels, multiples of 8; the checkpoint's own by default.
            num_inference_steps, guidance_scale, eta: as in Stable Diffusion; guidance is off at 1 and below. A UNet
                that was distilled with guidance (latent consistency models) takes the scale itself.
            generator: one generator, best on the CPU. It draws the first frame's noise, then each other frame's.
            latents: the first frame's noise instead, (1, c, height / factor, width / factor).
            motion_field_strength_x, motion_field_strength_y: how far the camera moves to the right and down, in
                512ths of the frame per frame; what is seen moves the other way.
            output_type: ``"latent"`` for latents, ``"pil"`` for a list of pictures, ``"pt"`` for a tensor,
                ``"uint8"`` for an array in a quarter of the memory, anything else for one in 0..1.
            callback: called as ``callback(step, timestep, latents)`` every ``callback_steps`` steps.
            t0, t1: the motion window as step indices counted from the last step, t0 < t1.
            frame_ids: the place in time of every frame, ``range(video_length)`` by default; the first frame stays, a
                negative place lies before it.
            motion_window: the window as training timesteps instead, the same for any scheduler and step count.
            motion_field, cross_frame_attention: switch either half of the method off.
            first_frame: what frame 0 is, uint8 (height, width, 3); the others begin at the end of the motion window as
                this picture, noised that far, and follow it.
            frame_prompts: a text for each frame instead of ``prompt``; an empty one is a blend of those nearest to it,
                before and after (DirecT2V, arXiv 2305.14330).
            shared_noise: without ``motion_field``, every frame begins from the first one's noise.
            chunk_size, cancel, watch: see ``RunOptions``.
            options: these and ``cross_frame_attention`` and ``callback`` in one.

        Raises:
            ValueError: for arguments out of bounds, before anything is computed.
            Cancelled: after ``cancel``.
            FloatingPointError: where latents or pictures are not finite, also after a second try in float32.
        """
        check_one(prompt, num_videos_per_prompt)
        check_finite(guidance_scale=guidance_scale)
        request = VideoRequest(
            video_length=video_length,
            height=height or self.own_size_px()[1],
            width=width or self.own_size_px()[0],
            num_inference_steps=num_inference_steps,
            eta=eta,
            generator=generator,
            latents=latents,
            motion_field_strength_x=motion_field_strength_x,
            motion_field_strength_y=motion_field_strength_y,
            output_type=output_type,
            return_dict=return_dict,
            t0=t0,
            t1=t1,
            frame_ids=frame_ids,
            motion_window=motion_window,
            motion_field=motion_field,
            first_frame=first_frame,
            frame_prompts=frame_prompts,
            shared_noise=shared_noise,
        )
        options = options or RunOptions(
            chunk_size, CrossFrame(enabled=cross_frame_attention), cancel, watch, callback, callback_steps
        )
        self.check_inputs(prompt, request.height, request.width, callback_steps)

        weighted = options.weighted_prompts
        embeddings = self.encode_frames(prompt, frame_prompts, negative_prompt, guidance_scale, weighted=weighted)
        predict = text_predictor(self.unet, embeddings, self.guidance(guidance_scale))
        return self.paint(predict, len(embeddings), request, options)
