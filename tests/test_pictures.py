"""Pictures of strangers, read as they look or refused in a line; pictures written, read again."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from strangers import assert_refused, difference

from errors import InvalidPicture
from media.pictures import read_picture, to_jpeg, write_picture


def picture() -> Image.Image:
    """Red above, green below, and blue at the left: no turn leaves it as it is."""
    pixels = np.zeros((48, 32, 3), np.uint8)
    pixels[:24], pixels[24:], pixels[:, :8] = (220, 30, 30), (40, 150, 60), (30, 30, 200)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_pictures_are_read_as_they_look(tmp_path, kind):
    """Under any name."""
    path = tmp_path / "-picture.gif"
    picture().save(path, kind, quality=95)
    pixels = read_picture(path)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert difference(pixels, np.asarray(picture())) < 5


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, lambda upright: upright),
        (2, np.fliplr),
        (3, lambda upright: np.rot90(upright, 2)),
        (4, np.flipud),
        (5, lambda upright: upright.swapaxes(0, 1)),
        (6, np.rot90),
        (7, lambda upright: np.rot90(upright, 2).swapaxes(0, 1)),
        (8, lambda upright: np.rot90(upright, -1)),
        (99, lambda upright: upright),
    ],
)
def test_photographs_stand_upright(tmp_path, kind, orientation, stored):
    """Cameras store what the sensor saw, and beside it how they were held."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying = Image.fromarray(np.ascontiguousarray(stored(np.asarray(picture()))))
    lying.save(tmp_path / "photo", kind, exif=exif, quality=95)
    assert difference(read_picture(tmp_path / "photo"), np.asarray(picture())) < 6


def test_odd_facts_beside_a_photograph_do_not_spoil_it(tmp_path):
    """Pillow's way to turn a picture writes its EXIF anew, and fails on a resolution that is text."""
    entries = [(0x0112, 3, 1, struct.pack("<2H", 6, 0)), (0x011A, 2, 4, b"abc\0")]
    table = b"".join(struct.pack("<2HI", *entry[:3]) + entry[3] for entry in entries)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + table + bytes(4)
    picture().save(tmp_path / "photo.jpg", exif=exif)
    assert read_picture(tmp_path / "photo.jpg").shape == (32, 48, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_what_is_transparent_is_white(tmp_path, mode):
    """Under transparent pixels anything may be stored, mostly black; viewers show the page, and pages are white."""
    if mode in ("P", "RGB"):
        image = Image.new(mode, (32, 32), 0)
        image.save(tmp_path / "a.png", transparency=0 if mode == "P" else (0, 0, 0))
    else:
        image = Image.new(mode, (32, 32), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
        image.save(tmp_path / "a.png")
    assert (read_picture(tmp_path / "a.png") == 255).all()


def test_half_transparent_is_half_white(tmp_path):
    """A soft edge stays soft."""
    Image.new("RGBA", (32, 32), (200, 0, 0, 128)).save(tmp_path / "a.webp", lossless=True)
    assert difference(read_picture(tmp_path / "a.webp")[0, 0], np.array([227, 127, 127])) < 2


def test_sixteen_bits_of_grey_keep_their_shades(tmp_path):
    """Depth maps come so, and Pillow turns all above 255 of 65535 white."""
    grey = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "depth.png")
    expected = np.repeat((grey / 257)[..., None], 3, axis=-1)
    assert difference(read_picture(tmp_path / "depth.png"), expected) < 1


def test_printers_colours_become_screen_colours(tmp_path):
    """CMYK photographs exist."""
    Image.new("CMYK", (32, 32), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    assert difference(read_picture(tmp_path / "a.jpg")[0, 0], np.array([255, 0, 0])) < 8


def png_head(width: int, height: int) -> bytes:
    """A PNG that says its size and then ends: whoever wants more than the size finds it broken."""
    header = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = [struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) for body in (header, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((4097, 4096), "4097x4096 is too large"),
        ((13000, 13000), "13000x13000 is too large"),
        ((16000, 16000), "far more than 16777216 pixels"),
        ((2**31 - 1, 2**31 - 1), "far more than 16777216 pixels"),
        ((15, 64), "15x64 is too small"),
        ((1, 1), "1x1 is too small"),
    ],
)
def test_the_size_is_judged_before_a_pixel_is_decoded(tmp_path, size, said):
    """20 KB can hold 500 MB of one colour; the head tells, and only the head is looked at."""
    path = tmp_path / "picture.png"
    path.write_bytes(png_head(*size))
    assert_refused(read_picture, path, said, InvalidPicture)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_picture_is_refused(tmp_path, kind):
    """Half a picture is grey below, and nobody would know why the video is."""
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(buffer, kind)
    content = buffer.getvalue()
    path = tmp_path / "part"
    for kept in (12, 30, len(content) // 2, len(content) - 40):
        path.write_bytes(content[:kept])
        assert_refused(read_picture, path, "damaged, incomplete", InvalidPicture)


def test_a_picture_of_too_many_bytes_is_refused_unread(tmp_path):
    """The limit of the page's upload does not hold for pictures that come inside a request."""
    path = tmp_path / "picture.png"
    picture().save(path)
    os.truncate(path, 100_000_001)
    assert_refused(read_picture, path, "more than 100 MB", InvalidPicture)


def test_what_is_written_is_read_again(tmp_path):
    """A PNG exactly, a JPEG nearly, in a folder that was not there; a JPEG in memory is the same kind of file."""
    pixels = np.asarray(picture())
    write_picture(tmp_path / "new" / "a.png", pixels)
    assert np.array_equal(read_picture(tmp_path / "new" / "a.png"), pixels)
    write_picture(tmp_path / "a.jpg", pixels)
    assert difference(read_picture(tmp_path / "a.jpg"), pixels) < 5
    (tmp_path / "b.jpg").write_bytes(to_jpeg(pixels, quality=90))
    assert difference(read_picture(tmp_path / "b.jpg"), pixels) < 5
