"""Frames through an autoencoder, one at a time: pictures to latents and latents to pictures.

Any autoencoder of diffusers that maps pictures to latents of one picture: ``AutoencoderKL``, ``AutoencoderTiny``,
``AsymmetricAutoencoderKL``, ``ConsistencyDecoderVAE``. It knows nothing of the loop.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import retrieve_latents

from utils import memory_errors


def normalized(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents of an autoencoder, (n, c, h, w), as the UNet takes them: scaled, and with the mean and the standard
    deviation taken out where the configuration has both (some Stable Diffusion XL checkpoints, Playground)."""
    mean, deviation = _statistics(vae, latents)
    return (latents - mean) * vae.config.scaling_factor / deviation


def denormalized(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents of the UNet, (n, c, h, w), as the autoencoder takes them; the inverse of ``normalized``."""
    mean, deviation = _statistics(vae, latents)
    return latents * deviation / vae.config.scaling_factor + mean


def _statistics(vae: Any, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel, (1, c, 1, 1); 0 and 1 where nothing is known."""
    given = vae.config.get("latents_mean"), vae.config.get("latents_std")
    if None in given:
        given = [0.0], [1.0]
    mean, deviation = (torch.tensor(each).view(1, -1, 1, 1).to(latents) for each in given)
    return mean, deviation


class FrameAutoencodingMixin:
    """For a diffusers pipeline with a ``vae``.

    ``heeds_force_upcast`` says whether ``force_upcast`` in the autoencoder's configuration means that it overflows in
    half precision. It does in Stable Diffusion XL; older checkpoints that say nothing get it from diffusers' default.
    """

    heeds_force_upcast: ClassVar[bool] = False
    unet: Any
    vae: Any
    safety_checker: Any
    image_processor: Any
    _execution_device: Any

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The shape of one frame's latents for pictures of this size in pixels: (1, c, h, w)."""
        factor = self.vae_scale_factor  # type: ignore[attr-defined]
        return 1, self.vae.config.latent_channels, height // factor, width // factor

    @torch.no_grad()
    def encode_pictures(
        self, pictures: np.ndarray, device: Any, before_each: Callable[[int], None] | None = None
    ) -> torch.Tensor:
        """The most likely latents of pictures, one at a time and as the autoencoder gives them: uint8 (n, height,
        width, 3) to float32 (n, c, h, w). ``before_each`` is called with each picture's number."""
        latents = []
        with self.autoencoder_in_range():
            for index, picture in enumerate(pictures):
                if before_each is not None:
                    before_each(index)
                pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None] / 127.5 - 1
                encoded = self.vae.encode(pixels.to(device, self.vae.dtype))
                latents.append(retrieve_latents(encoded, sample_mode="argmax").float())
        return torch.cat(latents)

    def encode_for_unet(self, pictures: np.ndarray) -> torch.Tensor:
        """The latents of pictures as the UNet takes them: uint8 (n, height, width, 3) to float32 (n, c, h, w)."""
        return normalized(self.vae, self.encode_pictures(pictures, self._execution_device))

    def encode_first_frame(self, picture: np.ndarray, height: int, width: int) -> torch.Tensor:
        """A given first frame's latents, (1, c, h, w), as the UNet takes them; raises ValueError for another size."""
        if picture.shape != (height, width, 3) or picture.dtype != np.uint8:
            raise ValueError(f"first_frame must be uint8 ({height}, {width}, 3), not {picture.dtype} {picture.shape}")
        return self.encode_for_unet(picture[None])

    @property
    def autoencoder_dtype(self) -> torch.dtype:
        """The precision that the autoencoder computes in."""
        dtype = self.vae.dtype
        overflows = self.heeds_force_upcast and dtype == torch.float16 and self.vae.config.force_upcast
        return torch.float32 if overflows else dtype

    @contextmanager
    def autoencoder_in_range(self) -> Iterator[None]:
        """Inside, an autoencoder that is known to overflow in half precision is in float32; afterwards, and whatever
        was done to it inside, it is in the precision it was in."""
        dtype = self.vae.dtype
        try:
            if self.autoencoder_dtype != dtype:
                self.vae.to(self.autoencoder_dtype)
            yield
        finally:
            if self.vae.dtype != dtype:
                self.vae.to(dtype)

    @torch.no_grad()
    def decode_frames(
        self,
        latents: torch.Tensor,
        before_each: Callable[[int], None] | None = None,
        *,
        as_uint8: bool = False,
        generators: Sequence[torch.Generator] | None = None,
    ) -> tuple[np.ndarray, list[bool] | None]:
        """Pictures of latents, one frame at a time: (frames, height, width, 3), float32 in 0..1 or uint8; and, with a
        safety checker, which frames it blacked out. Where the autoencoder overflows in half precision, the rest is
        decoded in float32. ``before_each`` is called with each frame's number; ``generators``, one for each frame, are
        for autoencoders that draw random numbers."""
        images: list[np.ndarray] = []
        nsfw: list[bool] = []
        with self.autoencoder_in_range():
            for index, frame in enumerate(latents):
                if before_each is not None:
                    before_each(index)
                generator = None if generators is None else generators[index]
                decoded = self.decode_frame(frame, generator)
                if not decoded.isfinite().all():
                    self.vae.float()
                    decoded = self.decode_frame(frame, generator)
                if not decoded.isfinite().all():
                    raise FloatingPointError("the decoded pictures are not finite")
                picture = self.image_processor.postprocess(decoded, output_type="np")
                if self.safety_checker is not None:
                    picture, flags = self.run_safety_checker(  # type: ignore[attr-defined]
                        picture, self._execution_device, self.unet.dtype
                    )
                    nsfw += flags
                images.append(np.rint(picture * 255).astype(np.uint8) if as_uint8 else picture)
        return np.concatenate(images), nsfw if self.safety_checker is not None else None

    def decode_frame(self, latents: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """One frame's latents (c, h, w) to pixels, float32 (1, 3, height, width) in about -1..1. Where memory runs out,
        this frame and those that follow are decoded in tiles, if the autoencoder can."""
        scaled = denormalized(self.vae, latents[None].to(self.vae.dtype))
        try:
            with memory_errors():
                return self.vae.decode(scaled, return_dict=False, generator=generator)[0].float()
        except torch.OutOfMemoryError:
            if getattr(self.vae, "use_tiling", True):
                raise
        self.vae.enable_tiling()
        return self.vae.decode(scaled, return_dict=False, generator=generator)[0].float()
