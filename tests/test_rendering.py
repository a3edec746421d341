"""Videos and pictures of every colour space, transparency and field order are read as a browser shows them."""

import struct
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from media.pictures import read_picture
from media.video_io import read_video

SIZE = (96, 64)
FROM_SCREEN = "format=gbrp,zscale=min=gbr:pin=bt709:tin=bt709"
TO_HDR = f"{FROM_SCREEN}:p=bt709:t=linear,format=gbrpf32le,zscale=npl=203:p=bt2020:t={{}}:m=2020_ncl:r=tv"


def colours(width: int = 96, height: int = 64) -> np.ndarray:
    """Red, blue, green and grey quarters: uint8 (1, height, width, 3)."""
    frame = np.full((1, height, width, 3), 130, np.uint8)
    frame[:, : height // 2, : width // 2], frame[:, : height // 2, width // 2 :] = (200, 40, 40), (40, 60, 200)
    frame[:, height // 2 :, : width // 2] = (60, 160, 70)
    return frame


def encoded(path: Path, frames: np.ndarray, *options: str, pixels: str = "rgb24") -> Path:
    """A video of frames, written with ffmpeg's options."""
    height, width = frames.shape[1:3]
    raw = ["-f", "rawvideo", "-pix_fmt", pixels, "-s", f"{width}x{height}", "-r", "8", "-i", "pipe:0"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *raw, *options, str(path)]
    subprocess.run(command, input=frames.tobytes(), check=True)
    return path


def error(path: Path, wanted: np.ndarray) -> int:
    """The largest error in the middles of the quarters."""
    height, width = wanted.shape[1:3]
    read = read_video(path, size=(width, height), fps=8, num_frames=1)
    at = np.ix_([0], [height // 4, 3 * height // 4], [width // 4, 3 * width // 4])
    return int(np.abs(read[at].astype(int) - wanted[at]).max())


@pytest.mark.parametrize("transfer", ["arib-std-b67", "smpte2084"])
def test_high_dynamic_range_has_the_colours_of_a_screen(tmp_path, transfer):
    """As telephones record it (HLG), and as films come (PQ)."""
    options = ["-vf", f"{TO_HDR.format(transfer)},format=yuv420p10le", "-c:v", "libx264"]
    options += ["-color_trc", transfer, "-color_primaries", "bt2020", "-colorspace", "bt2020nc"]
    assert error(encoded(tmp_path / "hdr.mov", colours(), *options), colours()) <= 6


def test_wide_primaries_are_converted_and_unusual_transfers_too(tmp_path):
    """Display P3, as some cameras name it, and BT.2020 without high dynamic range."""
    for primaries, matrix, zimg in (("smpte432", "bt709", "709"), ("bt2020", "bt2020nc", "2020_ncl")):
        to = f"{FROM_SCREEN}:t=bt709:p={primaries}:m={zimg}:r=tv"
        named = ["-colorspace", matrix, "-color_primaries", primaries, "-color_trc", "bt709"]
        path = encoded(tmp_path / "wide.mp4", colours(), "-vf", f"{to},format=yuv420p", "-c:v", "libx264", *named)
        assert error(path, colours()) <= 6


@pytest.mark.parametrize(("lines", "matrix"), [(64, "bt601"), (720, "bt709")])
def test_where_no_matrix_is_named_players_have_a_rule(tmp_path, lines, matrix):
    """BT.709 from 720 lines on, BT.601 below."""
    frame = colours(96, lines)
    options = ["-vf", f"scale=out_color_matrix={matrix}:out_range=tv,format=yuv420p,setparams=colorspace=unknown"]
    path = encoded(tmp_path / "unnamed.mp4", frame, *options, "-c:v", "libx264", "-colorspace", "unknown")
    assert error(path, frame) <= 5


TRANSPARENT = {
    "vp9.webm": ["-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p"],
    "vp8.webm": ["-c:v", "libvpx", "-auto-alt-ref", "0", "-pix_fmt", "yuva420p"],
    "prores.mov": ["-c:v", "prores_ks", "-profile:v", "4", "-pix_fmt", "yuva444p10le"],
    "png.mov": ["-c:v", "png"],
    "animation.mov": ["-c:v", "qtrle"],
    "ffv1.mkv": ["-c:v", "ffv1", "-pix_fmt", "bgra"],
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparent_video_lies_on_white(tmp_path, name):
    """Half and wholly transparent parts, whatever colour is hidden there."""
    frame = np.zeros((1, 64, 96, 4), np.uint8)
    frame[:, :, :32], frame[:, :, 32:64] = (200, 40, 40, 255), (200, 40, 40, 128)
    read = read_video(
        encoded(tmp_path / name, frame, *TRANSPARENT[name], pixels="rgba"), size=SIZE, fps=8, num_frames=1
    )
    for column, wanted in ((16, (200, 40, 40)), (48, (228, 148, 148)), (80, (255, 255, 255))):
        assert np.abs(read[0, 32, column].astype(int) - wanted).max() <= 8


def test_raw_pixels_of_four_bytes_are_not_transparent(tmp_path):
    """The fourth byte of an uncompressed AVI is nothing, and often zero."""
    frame = np.zeros((1, 64, 96, 4), np.uint8)
    frame[..., :3] = (200, 40, 40)
    path = encoded(tmp_path / "raw.avi", frame, "-c:v", "rawvideo", "-pix_fmt", "bgra", pixels="rgba")
    assert np.abs(read_video(path, size=SIZE, fps=8, num_frames=1)[0, 32, 48].astype(int) - (200, 40, 40)).max() <= 2


def test_a_turned_and_mirrored_video_stands_as_a_browser_shows_it(tmp_path):
    """As a telephone's front camera records it: the picture lies on its side, and is mirrored."""
    path = encoded(tmp_path / "lying.mp4", colours(), "-c:v", "libx264", "-pix_fmt", "yuv420p")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-display_rotation", "90", "-display_hflip"]
    subprocess.run([*command, "-i", str(path), "-c", "copy", str(tmp_path / "selfie.mov")], check=True)
    upright = np.rot90(colours()[0])[:, ::-1][None]  # mirrored after it was turned
    assert error(tmp_path / "selfie.mov", upright) <= 8


def square(frames: int) -> np.ndarray:
    """A white square that goes six pixels to the right in each frame."""
    video = np.full((frames, 64, 96, 3), 40, np.uint8)
    for index in range(frames):
        video[index, 16:48, 6 * index : 6 * index + 20] = 230
    return video


INTERLACED = {
    "top.mp4": ["-c:v", "libx264", "-x264opts", "interlaced=1:tff=1", "-vf", "tinterlace=interleave_top,setfield=tff"],
    "bottom.mp4": ["-c:v", "libx264", "-x264opts", "bff=1", "-vf", "tinterlace=interleave_bottom,setfield=bff"],
    "mpeg2.mkv": [
        "-c:v",
        "mpeg2video",
        "-flags",
        "+ilme+ildct",
        "-q:v",
        "2",
        "-vf",
        "tinterlace=interleave_top,setfield=tff",
    ],
}


@pytest.mark.parametrize("name", INTERLACED)
def test_interlaced_video_has_no_combs(tmp_path, name):
    """Rows of one moving edge begin at one place, whichever field is first."""
    path = encoded(tmp_path / name, square(12), "-pix_fmt", "yuv420p", *INTERLACED[name])
    frame = read_video(path, size=SIZE, fps=4, num_frames=6)[2].astype(int)
    edges = [int(np.flatnonzero(row[:, 0] > 130)[0]) for row in frame[22:42]]
    assert max(edges) - min(edges) <= 1


@pytest.mark.parametrize("name", ["h264.mp4", "mjpeg.avi", "ffv1.mkv"])
def test_progressive_video_is_untouched(tmp_path, name):
    """To the bit what ffmpeg gives without any filter, also of a single frame."""
    codec = name.partition(".")[0].replace("h264", "libx264")
    for frames in (square(1), square(4)):
        path = encoded(tmp_path / name, frames, "-c:v", codec, "-pix_fmt", "yuv444p" if codec == "ffv1" else "yuv420p")
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-vf"]
        command += ["scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp", "-f", "rawvideo"]
        plain = subprocess.run([*command, "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
        assert read_video(path, size=SIZE, fps=8, num_frames=9).tobytes() == plain


def profile(*columns: tuple[float, float, float]) -> bytes:
    """An ICC profile of primaries, XYZ each, and a gamma of 2.2."""
    numbers = [b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in each)) for each in columns]
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * 2.2)) + b"\0\0"
    tags = dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), numbers, strict=True))
    tags |= {b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)}
    tags |= {name: curve for name in (b"rTRC", b"gTRC", b"bTRC")}
    table, data, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table, data = table + name + struct.pack(">II", at + len(data), len(content)), data + content
    head = struct.pack(">I4xI4s4s4s12x4s", at + len(data), 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    head += bytes(28) + struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + data


RED, GREEN, BLUE = (
    (0.4361, 0.2225, 0.0139),
    (0.3851, 0.7169, 0.0971),
    (0.1431, 0.0606, 0.7141),
)  # sRGB's, as ICC has them


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_has_the_colours_of_its_profile(tmp_path, kind):
    """Here of one whose red is a screen's blue; one that is broken is nothing."""
    picture = Image.new("RGB", (32, 32), (200, 40, 40))
    for given, wanted in ((profile(BLUE, GREEN, RED), (40, 40, 200)), (b"no profile", (200, 40, 40))):
        picture.save(tmp_path / "picture", kind, icc_profile=given, quality=95)
        assert np.abs(read_picture(tmp_path / "picture")[16, 16].astype(int) - wanted).max() <= 12


def test_a_transparent_picture_keeps_its_opacity_under_a_profile(tmp_path):
    """And lies on white after the conversion."""
    Image.new("RGBA", (32, 32), (200, 40, 40, 0)).save(tmp_path / "p.png", icc_profile=profile(BLUE, GREEN, RED))
    assert (read_picture(tmp_path / "p.png") == 255).all()


def test_a_png_of_another_gamma_is_brightened(tmp_path):
    """Linear light, as renderers write it: half the light is 188 of a screen's 255."""
    facts = PngImagePlugin.PngInfo()
    facts.add(b"gAMA", struct.pack(">I", 100_000))
    Image.new("RGB", (32, 32), (128, 128, 128)).save(tmp_path / "linear.png", pnginfo=facts)
    assert np.abs(read_picture(tmp_path / "linear.png").astype(int) - 188).max() <= 1
