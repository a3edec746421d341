"""The model card of the storybook's checkpoint, written from what was measured."""

from collections.abc import Mapping
from typing import Any

CARD = """---
license: mit
---

# storybook

A small text-to-image model in Stable Diffusion's format, trained from nothing on drawn scenes of things that people
ask for. **It is not Stable Diffusion and knows nothing but its storybook:** the {count} things below, in {place_count}
places and on plain colours.

{things}

Places: {places}.

| part | architecture | parameters |
|---|---|---|
{parts}

256x256 pixels, 4x32x32 latents, v-prediction, zero terminal SNR (sampling begins at the last timestep: keep
`timestep_spacing="trailing"`). Loads with `StableDiffusionPipeline.from_pretrained("checkpoints/storybook")`. `clip/`
holds the CLIP whose text half conditions the UNet.

Trained by `python -m training.storybook`: {course}.

## Measured

{captions} captions that training never showed, drawn with the page's own settings and read by a small network that has
seen renderings alone (`python -m evaluation.storybook`). "Unseen" are pairs of thing and place never shown together.

| right | reached | wanted |
|---|---:|---:|
{shares}

Autoencoder on unseen scenes: {psnr:.1f} dB PSNR (wanted: 30).

![contact sheet](sheet.jpg)

## Where the drawings come from

Scenes are put together from two openly licensed picture sets, which are not part of this repository: Fluent Emoji Flat
(copyright Microsoft Corporation, MIT licence) and Noto Emoji (copyright Google LLC, Apache License 2.0), both as
packaged by Iconify (`@iconify-json/fluent-emoji-flat`, `@iconify-json/noto`). Places are drawn by
`storybook/scenery.py`.
"""

WANTED = {
    "thing": 95,
    "place": 97,
    "both": 92,
    "count": 97,
    "position": 90,
    "colour": 90,
    "size": None,
    "unseen": None,
    "right": 90,
    "still": 90,
    "same": 95,
}
LABELS = {
    "both": "thing and place",
    "count": "as many as asked for",
    "position": "position, where named",
    "colour": "colour, where named",
    "size": "size, where named",
    "unseen": "thing and place, of unseen pairs",
    "right": "clips: moves as far as the field says",
    "still": "clips: stays without motion",
    "same": "clips: frames with the first frame's thing",
}


def model_card(result: Mapping[str, Any]) -> str:
    """Markdown for the checkpoint's README from what ``finish.report`` gathers."""
    shares = result["fidelity"]
    return CARD.format(
        count=len(result["things"]),
        things=", ".join(result["things"]) + ".",
        place_count=len(result["places"]),
        places=", ".join(result["places"]),
        parts="\n".join(
            f"| {part['name']} | {part['class']} | {part['parameters'] / 1e6:.2f} M |" for part in result["parts"]
        ),
        course=result["course"],
        captions=shares["captions"],
        shares="\n".join(
            f"| {LABELS.get(name, name)} | {100 * shares[name]:.1f} % | {f'{wanted} %' if wanted else ''} |"
            for name, wanted in WANTED.items()
            if name in shares
        ),
        psnr=result["autoencoder_psnr_db"],
    )
