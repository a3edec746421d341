"""Still pictures: read from files that anyone may have made, and written as PNG or JPEG.

Reading is Pillow's, because orientation, transparency, depth and colours of a picture are its. Writing is imageio's.
"""

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms
from PIL.Image import Transpose

from errors import InvalidPicture
from media.files import MAX_PIXELS, UNREADABLE, kind_of, refuse_size

MAX_PICTURE_BYTES = 100_000_000
JPEG_QUALITY = 95
SCREEN_GAMMA = 0.45455  # of a PNG that means sRGB
# First bytes of a file, by Pillow's name of its format.
_PICTURES = {"PNG": rb"\x89PNG\r\n\x1a\n", "JPEG": rb"\xff\xd8\xff", "WEBP": rb"RIFF....WEBP"}
_TURNS = {  # by EXIF's orientation; 1 is upright
    **{2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE},
    **{6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90},
}


def read_picture(path: Path) -> np.ndarray:
    """Read a PNG, JPEG or WebP as a browser shows it: turned as its EXIF says, in the colours of a screen, on white.

    Returns:
        uint8 (height, width, 3), RGB.

    Raises:
        InvalidPicture: in one line without the path, where there is no such picture, or it is too large or small.
    """
    kind = kind_of(path, _PICTURES, InvalidPicture("this file is not a picture: use PNG, JPEG or WebP"))
    if Path(path).stat().st_size > MAX_PICTURE_BYTES:
        raise InvalidPicture(f"this picture has more than {MAX_PICTURE_BYTES // 10**6} MB: save it smaller")
    try:
        with Image.open(path, formats=[kind]) as picture:
            refuse_size(*picture.size, InvalidPicture)
            return _on_white(_on_screen(_turned(picture)))
    except Image.DecompressionBombError:
        raise InvalidPicture(f"this picture has far more than {MAX_PIXELS} pixels: make it smaller") from None
    except (OSError, ValueError, SyntaxError, EOFError):
        raise InvalidPicture(f"this picture {UNREADABLE} PNG or JPEG") from None


def _turned(picture: Image.Image) -> Image.Image:
    """Upright, as EXIF says. Pillow's own function also writes EXIF anew, and fails where odd facts are in it."""
    turn = _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    return picture if turn is None else picture.transpose(turn)


def _on_screen(picture: Image.Image) -> Image.Image:
    """In sRGB, from the profile or the gamma that the file names; one that cannot be used is nothing, as in a browser.
    16-bit greys, which Pillow would cut off at 255, keep their upper byte."""
    profile, gamma = picture.info.get("icc_profile"), picture.info.get("gamma")
    named_gamma = gamma if profile is None and "srgb" not in picture.info else None
    if picture.mode.startswith("I"):
        picture = Image.fromarray((np.asarray(picture) // 257).clip(0, 255).astype(np.uint8))
    if profile is None and (not named_gamma or abs(named_gamma - SCREEN_GAMMA) < 0.01):
        return picture
    opacity = picture.convert("RGBA").getchannel("A") if picture.has_transparency_data else None
    plain = picture if picture.mode in ("L", "RGB", "CMYK") else picture.convert("RGB")
    converted = plain.convert("RGB").point(_table(named_gamma) * 3) if named_gamma else _profiled(plain, profile)
    if opacity is not None:
        converted.putalpha(opacity)
    return converted


def _profiled(picture: Image.Image, profile: Any) -> Image.Image:
    try:
        given = ImageCms.ImageCmsProfile(BytesIO(profile))
        return ImageCms.profileToProfile(
            picture, given, _srgb(), ImageCms.Intent.RELATIVE_COLORIMETRIC, "RGB"
        ) or picture.convert("RGB")  # fmt: skip
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return picture.convert("RGB")


@cache
def _srgb() -> Any:
    return ImageCms.createProfile("sRGB")


def _table(gamma: float) -> list[int]:
    """sRGB's values of all 256 that were encoded with a gamma."""
    light = (np.arange(256) / 255) ** (1 / gamma)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return [int(value) for value in (255 * encoded).round()]


def _on_white(picture: Image.Image) -> np.ndarray:
    """RGB over white."""
    if not picture.has_transparency_data:
        return np.array(picture.convert("RGB"))
    ground = Image.new("RGBA", picture.size, "white")
    return np.array(Image.alpha_composite(ground, picture.convert("RGBA")).convert("RGB"))


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 pixels (height, width, 3), RGB, as PNG or JPEG by the suffix; makes the folder. Raises OSError."""
    import imageio.v3 as iio

    path.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(path, pixels, quality=JPEG_QUALITY)  # which PNG has no use for


def to_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """Return uint8 pixels (height, width, 3), RGB, as a JPEG file with colours as fine as the brightness."""
    import imageio.v3 as iio

    return iio.imwrite("<bytes>", pixels, extension=".jpg", quality=quality, subsampling=0)
