"""Count the values that live at once in the networks of Stable Diffusion 1.5 and XL, for the memory plan.

    python -m benchmarks.bench_activations

The public configurations, on PyTorch's meta device: every operation is dispatched and every result has its size, but
nothing is computed and no memory is taken. Results are counted from when they are made until nobody holds them; weights
are not. Attention is taken to be fused, as on a graphics card. What kernels need for themselves is not seen here.

Predicted: nothing was; for Stable Diffusion 1.5 the program took 0.35 GB per frame of 512x512, by rule of thumb.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.utils import logging
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.full_size import AUTOENCODER, UNET
from benchmarks.measuring import table
from pipelines.attention import cross_frame_attention
from pipelines.predictors import Guidance, text_predictor

UNET_XL = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "layers_per_block": 2,
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 1280 + 6 * 256,
}
UNETS = {"1.5": UNET, "XL": UNET_XL}
HALF = torch.float16


class LiveBytes(TorchDispatchMode):
    """Mode that counts the bytes of all results that are still referenced, and their peak."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.seen = {weight.untyped_storage()._cdata for weight in network.parameters()}
        self.now = self.peak = 0

    def __torch_dispatch__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self.seen:
            return
        self.seen.add(storage._cdata)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, storage: int, size: int) -> None:
        self.seen.discard(storage)
        self.now -= size


class FusedAttention(TorchFunctionMode):
    """Mode in which attention allocates nothing but its result."""

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            return args[0].new_empty(args[0].shape)
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def peak_bytes(network: torch.nn.Module, work: Callable[[], object]) -> int:
    """Return the most bytes that live at once while ``work`` runs the network, its weights left out."""
    with FusedAttention(), LiveBytes(network) as live:
        work()
    return live.peak


def predicting(config: dict[str, Any], side_px: int, frames: int) -> tuple[int, int]:
    """Return the peak bytes of a guided prediction of frames in half precision, and those kept of the anchor frame.

    The latter are held for the chunks that follow.
    """
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config).to(HALF).eval()
        latents = torch.empty(frames, 4, side_px // 8, side_px // 8)
        text = torch.empty(2, 77, unet.config.cross_attention_dim)
        told = {"text_embeds": torch.empty(2, 1280, dtype=HALF), "time_ids": torch.empty(2, 6, dtype=HALF)}
        timestep = torch.tensor(500)
    predict = text_predictor(unet, text, Guidance(7.5), told if unet.config.addition_embed_type else None)
    with cross_frame_attention(unet, branches=2) as anchor:
        live = peak_bytes(unet, lambda: predict(latents, timestep, slice(0, frames)))
        with torch.no_grad(), FusedAttention(), anchor.record():
            predict(latents, timestep, slice(0, frames))
        kept = sum(part.nbytes for keys_values in anchor.recorded.values() for part in keys_values)
    return live, kept


def decoding(dtype: torch.dtype, side_px: int) -> int:
    """Return the peak bytes of decoding one picture."""
    with torch.device("meta"):
        autoencoder = AutoencoderKL(**AUTOENCODER).to(dtype).eval()
        latents = torch.empty(1, 4, side_px // 8, side_px // 8, dtype=dtype)
    return peak_bytes(autoencoder, lambda: autoencoder.decode(latents, return_dict=False))


def main() -> None:
    """Print what is counted."""
    logging.set_verbosity_error()
    rows = []
    for name, config in UNETS.items():
        for side in (512, 1024):
            (one, kept), (four, _) = (predicting(config, side, frames) for frames in (1, 4))
            sizes = (one, four, (four - one) / 3, kept)
            values = [f"{size / HALF.itemsize / side**2:.0f}" for size in sizes[2:]]
            rows.append([f"UNet of {name}, {side}x{side}", *(f"{size / 1e6:,.0f}" for size in sizes), *values])
    columns = ["MB, 1 frame", "4 frames", "each more", "the anchor's", "values per pixel, each more", "the anchor's"]
    print(table(["half precision, guidance", *columns], rows))
    rows = []
    for dtype in (torch.float16, torch.float32):
        for side in (512, 1024):
            size = decoding(dtype, side)
            rows.append([f"{dtype}, {side}x{side}", f"{size / 1e6:,.0f}", f"{size / dtype.itemsize / side**2:.0f}"])
    print(table(["decoder, one picture", "MB", "values per pixel"], rows))


if __name__ == "__main__":
    main()
