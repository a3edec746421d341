"""Filters of ffmpeg that show a video as a browser does: its colours, its transparency, whole pictures.

The one place that decides it, from the line in which ffmpeg describes the stream. Colours: as the file names matrix,
range, primaries and transfer; where it names no matrix, players take BT.709 for 720 lines and more and BT.601 below.
High dynamic range is brought to that of a screen, with its reference white as white. Transparent video lies on white,
as pictures and GIFs do. Interlaced video is deinterlaced.
"""

import re
from dataclasses import dataclass

import numpy as np

HD_LINES = 720
HDR_TRANSFERS = ("arib-std-b67", "smpte2084")
REFERENCE_WHITE_NITS, PEAK_NITS = 203, 1000  # ITU-R BT.2408; what both kinds are graded for
HIGHLIGHTS = 0.9  # of white, from where what is brighter is pressed together
# Of these a screen shows something else without a conversion; of the others, BT.601's, the difference is not seen.
WIDE_PRIMARIES = ("bt2020", "smpte431", "smpte432", "film", "smpte428")
OTHER_TRANSFERS = ("linear", "gamma22", "gamma28", "bt470m", "bt470bg", "smpte428")
_STREAM = re.compile(rb"Stream #0:\d+[^\n]*: Video: (\w+)[^\n]*?, (\w+)(?:\(((?:[^()]|\([^()]*\))*)\))?, (\d+)x(\d+)")
_WITH_ALPHA = re.compile(r"(yuva|gbrap|rgba|bgra|argb|abgr|ya\d|ayuv|vuya|pal8)")
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # ffmpeg's own drop the transparency
_MATRICES = {"bt2020nc": "2020_ncl", "bt2020c": "2020_cl", "bt709": "709", "gbr": "gbr", "ycgco": "ycgco"}
_MATRICES |= {"fcc": "fcc", "bt470bg": "470bg", "smpte170m": "170m", "smpte240m": "240m", "ictcp": "ictcp"}


@dataclass(frozen=True)
class Rendering:
    """Arguments of ffmpeg for one video: ``decoder`` before its name, filters ``before`` the frame rate and ``after``
    the scaling, and the ``pixels`` to ask for, which ``on_white`` takes."""

    decoder: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    pixels: str = "rgb24"

    @property
    def channels(self) -> int:
        """Values of a pixel: 4 with its opacity."""
        return len(self.pixels.rstrip("0123456789"))


def rendering(told: bytes, container: str) -> Rendering:
    """Return how to show the first video stream that ffmpeg tells of (``told``, at its level "info")."""
    stream = _STREAM.search(told)
    if stream is None or container == "gif":  # whose decoder lays it on white itself
        return Rendering()
    codec, pixels, facts = stream[1].decode(), stream[2].decode(), (stream[3] or b"").decode().split(", ")
    hidden = codec in _ALPHA_DECODERS and re.search(rb"alpha_mode\s*: 1", told, re.IGNORECASE) is not None
    transparent = hidden or (_WITH_ALPHA.match(pixels) is not None and codec != "rawvideo")  # raw: a byte left over
    combed = pixels.startswith("yuv") and "progressive" not in facts
    named = re.fullmatch(r"([\w-]+)/([\w-]+)/([\w-]+)", next((fact for fact in facts if "/" in fact), ""))
    one = next((fact for fact in facts if fact in _MATRICES), "unknown")  # the same word for all three
    colours = named.groups() if named else (one, one, one)
    whole_pictures = ("bwdif=mode=send_frame:deint=interlaced",) if combed else ()
    opacity = ("format=gbrap", "premultiply=inplace=1") if transparent else ()  # or hidden colours bleed when scaled
    return Rendering(
        decoder=("-c:v", _ALPHA_DECODERS[codec]) if hidden else (),
        before=(*_named_matrix(pixels, colours[0], int(stream[5])), *whole_pictures, *opacity),
        after=() if transparent else _to_screen(*colours, pixels=pixels, lines=int(stream[5])),
        pixels="rgba" if transparent else "rgb24",
    )


def _named_matrix(pixels: str, matrix: str, lines: int) -> tuple[str, ...]:
    """A name for the matrix where ffmpeg would take BT.601 and players do not."""
    yuv = pixels.startswith(("yuv", "nv", "p0"))
    return ("setparams=colorspace=bt709",) if yuv and matrix == "unknown" and lines >= HD_LINES else ()


def _to_screen(matrix: str, primaries: str, transfer: str, *, pixels: str, lines: int) -> tuple[str, ...]:
    """Filters from the colours that a file names to those of a screen, BT.709's; none where they are near enough."""
    hdr = transfer in HDR_TRANSFERS
    if not (hdr or primaries in WIDE_PRIMARIES or transfer in OTHER_TRANSFERS):
        return ()
    guessed = "709" if lines >= HD_LINES else "170m"
    given = "gbr" if pixels.startswith(("gbr", "rgb", "bgr")) else _MATRICES.get(matrix, guessed)
    source = f"min={given}:pin={primaries if primaries != 'unknown' else 'bt709'}"
    source += f":tin={transfer if transfer != 'unknown' else 'bt709'}"
    peak = PEAK_NITS / REFERENCE_WHITE_NITS
    return (
        f"zscale={source}:t=linear:npl={REFERENCE_WHITE_NITS if hdr else 100}",
        "format=gbrpf32le",
        "zscale=p=bt709",
        *((f"tonemap=mobius:param={HIGHLIGHTS}:desat=0:peak={peak:.3f}",) if hdr else ()),
        "zscale=t=bt709:m=gbr:r=full",
        "format=gbrp",
    )


def on_white(frames: np.ndarray) -> np.ndarray:
    """Return frames of ``Rendering.pixels``, uint8 (frames, height, width, channels), as RGB that can be written to."""
    if frames.shape[-1] == 3:
        return frames.copy()
    return np.minimum(255, frames[..., :3] + (255 - frames[..., 3:]).astype(np.uint16)).astype(np.uint8)
