"""The model card of the toy world's checkpoint, written from what was measured."""

CARD = """# toyworld

A small text-to-image model in Stable Diffusion's format, trained from nothing on drawn scenes of simple shapes and
figures. **It is not Stable Diffusion and knows nothing but the toy world:** circles, squares, triangles, stars, hearts,
diamonds and free-form shapes in nine colours, three sizes and five places; people in coloured clothes; plain, sky,
grass, sand, sea and night backgrounds; one or two objects. It exists so that the program works out of the box, and so
that what a video shows can be measured exactly.

| part | architecture | parameters |
|---|---|---|
{parts}

128x128 pixels, 4x32x32 latents (four times down, not eight), v-prediction, Stable Diffusion's noise schedule. Loads
with `StableDiffusionPipeline.from_pretrained("checkpoints/toyworld")`. `clip/` holds the CLIP whose text half
conditions the UNet; with its image half it scores toy pictures against captions.

Trained by `python -m training.toyworld` on {pictures:,} pictures; {training}.

## Measured

{captions} captions of scenes that training never saw, {steps} DDIM steps, guidance {guidance_scale}, one picture each,
judged by the detector of `toyworld/detector.py`. "Unseen pairs" are colours and shapes that training never
showed together ({pairs}). The last column is the detector on true drawings: what the yardstick itself is worth.

| right | held-out captions | unseen pairs ({unseen_captions} captions) | detector on drawings |
|---|---|---|---|
{shares}

Overlap is the mean intersection over union of the outline found with the ideal one of the best-matching shape.
Autoencoder on unseen scenes: {psnr:.1f} dB PSNR.

### Confusions

| attribute | asked | drawn | times of {captions} |
|---|---|---|---|
{confusions}

## Contact sheet

The first {sheet} of the held-out captions; a red bar marks a picture that is wrong in something.

![contact sheet](sheet.jpg)

Card, figures and sheet are written by `training/toyworld/measure.py: report` at the end of training.
"""


def model_card(result: dict) -> str:
    """Format the checkpoint's README from the result of ``measure.report``."""
    names = ("colour", "shape", "background", "position", "overlap")
    columns = (result["fidelity"], result["unseen_pairs"], result["detector_on_renderings"])
    return CARD.format(
        parts="\n".join(
            f"| {part['name']} | {part['class']} | {part['parameters'] / 1e6:.2f} M |" for part in result["parts"]
        ),
        shares="\n".join(
            f"| {name} | " + " | ".join(f"{100 * column[name]:.1f} %" for column in columns) + " |" for name in names
        ),
        confusions="\n".join(
            f"| {row['attribute']} | {row['asked']} | {row['found']} | {row['times']} |" for row in result["confusions"]
        )
        or "| none | | | |",
        unseen_captions=result["unseen_pairs"]["captions"],
        pairs=", ".join(result["unseen_pairs"]["pairs"]),
        psnr=result["autoencoder_psnr_db"],
        captions=result["captions"],
        steps=result["steps"],
        guidance_scale=result["guidance_scale"],
        sheet=min(100, result["captions"]),
        pictures=result["training"]["pictures"],
        training=result["training"]["course"],
    )
