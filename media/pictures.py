"""Still pictures: read from files that anyone may have made, and written as PNG or JPEG.

Reading is Pillow's, because orientation, transparency and depth of a picture are its. Writing is imageio's.
"""

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image
from PIL.Image import Transpose

from errors import InvalidPicture
from media.files import MAX_PIXELS, UNREADABLE, kind_of, refuse_size

MAX_PICTURE_BYTES = 100_000_000
JPEG_QUALITY = 95
# First bytes of a file, by Pillow's name of its format.
_PICTURES = {"PNG": rb"\x89PNG\r\n\x1a\n", "JPEG": rb"\xff\xd8\xff", "WEBP": rb"RIFF....WEBP"}
_TURNS = {  # by EXIF's orientation; 1 is upright
    **{2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE},
    **{6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90},
}


def read_picture(path: Path) -> np.ndarray:
    """Read a PNG, JPEG or WebP as it is displayed, turned as its EXIF says and laid on white.

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
            return _on_white(_turned(picture))
    except Image.DecompressionBombError:
        raise InvalidPicture(f"this picture has far more than {MAX_PIXELS} pixels: make it smaller") from None
    except (OSError, ValueError, SyntaxError, EOFError):
        raise InvalidPicture(f"this picture {UNREADABLE} PNG or JPEG") from None


def _turned(picture: Image.Image) -> Image.Image:
    """Upright, as EXIF says. Pillow's own function also writes EXIF anew, and fails where odd facts are in it."""
    turn = _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    return picture if turn is None else picture.transpose(turn)


def _on_white(picture: Image.Image) -> np.ndarray:
    """RGB over white; 16-bit greys, which Pillow would cut off at 255, keep their upper byte."""
    if picture.mode.startswith("I"):
        picture = Image.fromarray((np.asarray(picture) // 257).clip(0, 255).astype(np.uint8))
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
