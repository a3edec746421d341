"""Uses of a finished clip: as the video that a tab starts from, as its first frame, or to be continued."""

import tempfile
from pathlib import Path

from gradio.blocks import Block
from PIL import Image

from errors import InvalidSettings
from library.clips import ClipRecord
from media.exports import export, read_frames
from settings.parsing import parse, restorable
from web.context import BuiltTab, PageContext
from web.events import Updates
from web.generate import restored_values
from web.html import status_html
from web.opening import ClipOpener

CONTINUE = "continue"
PHRASES = {"source": "Video in {}", "first_frame": "First frame in {}"}


class ClipUses:
    """The uses that the tabs of a page have for a clip."""

    def __init__(self, context: PageContext) -> None:
        self.context, self.opener = context, ClipOpener(context)

    def choices(self) -> list[tuple[str, str]]:
        """Return the uses as (label, value)."""
        found = [
            (PHRASES[name].format(tab.label), f"{name}:{tab.label}") for tab in self.context.built for name in tab.files
        ]
        follow = [("Beginning of a clip that continues it", CONTINUE)]
        return [*follow, *found] if any("first_frame" in tab.files for tab in self.context.built) else found

    @property
    def changed(self) -> list[Block]:
        """All components that a use may change."""
        files: list[Block] = [one for tab in self.context.built for one in tab.files.values()]
        return [*files, *self.opener.changed]

    def updates(self, record: ClipRecord, use: str) -> Updates:
        """Return the updates that put a clip to a use; raises UserError."""
        if use == CONTINUE:
            return self._continued(record)
        name, _, label = use.partition(":")
        tab = next((tab for tab in self.context.built if tab.label == label and name in tab.files), None)
        if tab is None:
            raise InvalidSettings("use: must be one of those in the list")
        file = as_video(record) if name == "source" else frame_of(record, 0)
        said = status_html(f"The clip is in place: {PHRASES[name].format(label).lower()}.")
        return {tab.files[name]: str(file), tab.panel.status: said, **self.opener.selected(tab)}

    def _continued(self, record: ClipRecord) -> Updates:
        """The clip's own settings, from its last frame on; in another tab where its own takes no first frame."""
        values, lost = restorable(record.settings)
        settings = parse(values)
        tab = self._tab_that_begins(self.opener.tab_of(settings.to_dict()))
        restored: Updates = {}
        if tab.jobs.makes(settings.to_dict()):
            restored = restored_values(settings, tab.controls, tab.panel.status, lost)
        else:
            restored = {tab.controls["prompt"]: settings.prompt}
        said = status_html("Generate goes on from the clip's last frame.")
        files: Updates = {tab.files["first_frame"]: str(frame_of(record, -1))}
        return {**restored, **files, tab.panel.status: said, **self.opener.selected(tab)}

    def _tab_that_begins(self, own: BuiltTab) -> BuiltTab:
        return next(tab for tab in (own, *self.context.built) if "first_frame" in tab.files)


def as_video(record: ClipRecord) -> Path:
    """Return the path of a clip as an MP4; raises InvalidVideo."""
    if record.file.suffix == ".mp4":
        return record.file
    return export(record.file, "mp4", Path(tempfile.mkdtemp(prefix="text2video-")), "clip")


def frame_of(record: ClipRecord, index: int) -> Path:
    """Write one frame of a clip as a picture and return its path; raises InvalidVideo."""
    path = Path(tempfile.mkdtemp(prefix="text2video-")) / "frame.png"
    Image.fromarray(read_frames(record.file)[0][index]).save(path)
    return path
