"""The motion field and the warp, against the chain of operations of the authors."""

import pytest
import torch
from torch.nn import functional

from pipelines.motion import motion_field, source_cells, warp


def reference_warp(latents: torch.Tensor, flow_x: float, flow_y: float) -> torch.Tensor:
    """A constant 512-cell flow, reduced to the latents' size and sampled at the nearest cell, mirrored outside."""
    rows, columns = torch.meshgrid(torch.arange(512.0), torch.arange(512.0), indexing="ij")
    grid = torch.stack([columns + flow_x, rows + flow_y])[None] / 512 * 2 - 1
    grid = functional.interpolate(grid, size=latents.shape[-2:], mode="bilinear", align_corners=False)
    return functional.grid_sample(
        latents, grid.permute(0, 2, 3, 1), mode="nearest", padding_mode="reflection", align_corners=False
    )


@pytest.mark.parametrize("size", [(16, 16), (64, 64), (12, 20), (32, 48)])
@pytest.mark.parametrize("strength", [(12, 12), (-12, 5), (0, 37.5), (90, -75), (-127, 128)])
def test_the_same_cells_as_the_512_cell_flow_field(size, strength):
    """Our index arithmetic picks exactly the cells the long way picks, for seven frames."""
    shifts = motion_field(8, *strength)
    latents = torch.randn(8, 4, *size, generator=torch.Generator().manual_seed(0))
    ours = warp(latents, shifts)
    for frame in range(1, 8):
        theirs = reference_warp(latents[frame : frame + 1], strength[0] * frame, strength[1] * frame)
        assert torch.equal(ours[frame : frame + 1], theirs)


def test_no_motion_is_the_identity():
    """At any size, bit for bit."""
    latents = torch.randn(3, 4, 9, 31, generator=torch.Generator().manual_seed(0))
    assert torch.equal(warp(latents, motion_field(3, 0, 0)), latents)


def test_strength_is_a_512th_of_the_side_per_frame():
    """Strength 64 is an eighth of the frame: after two frames everything is seen a quarter further on."""
    assert motion_field(3, 64, -32).tolist() == [[0, 0], [0.125, -0.0625], [0.25, -0.125]]
    assert source_cells(64, 0.25)[:40].tolist() == list(range(16, 56))


def test_the_border_is_mirrored_and_every_value_is_an_old_one():
    """Nothing is blended, so noise keeps its variance."""
    assert source_cells(4, 0.5).tolist() == [2, 3, 3, 2]
    assert set(source_cells(8, 1.9).tolist()) <= set(range(8))
