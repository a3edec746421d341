"""Generation of one video from a command line's request, and the file it is written to."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.options import CommandLineRequest
from cli.parser import OUTPUT_FOLDER
from cli.terminal import cancel_on_interrupt, draw_progress, one_line, redraw_line, write_remark, write_result
from director.director import ChatModel
from director.storyboard import load_storyboard
from errors import Cancelled, InvalidSettings, UserError
from generation.prompts import file_name
from media.video_io import SUFFIXES
from model_manager.builtin_models import ModelRow
from model_manager.offered_names import with_offered_names
from settings import GenerationSettings, is_directed
from utils import make_writable

if TYPE_CHECKING:
    from model import Clip


def generate_video(request: CommandLineRequest) -> None:
    """Generate a video, save it, and write its path, seed and seconds to the standard output.

    An output that cannot be written is refused before anything is loaded. Raises UserError, and Cancelled on Ctrl-C.
    """
    check_output(request.output or OUTPUT_FOLDER / "any.mp4")
    from model import Model

    with cancel_on_interrupt() as cancel:
        model = Model(models=request.offer.models, device=request.device, extras=request.offer.extras)
        settings = _with_storyboard(with_offered_names(request.settings, model.catalogue), request.chat_model)
        try:
            clip = model.generate(settings, on_step=draw_progress, cancel=cancel, **request.files)
        finally:
            redraw_line("")
        if cancel.is_set():
            raise Cancelled
    facts = clip.settings.to_dict()
    path = request.output or _default_path(facts, model.rows)
    _save(clip, path)
    for note in (*request.notes, *clip.notes):
        write_remark(f"note: {note}")
    write_result(f"{one_line(str(path))}  seed {facts['seed']}  {clip.seconds:.1f} s")


def _save(clip: Clip, path: Path) -> None:
    """Write a finished clip; where that fails it is kept in a temporary folder, which the UserError then names."""
    try:
        clip.save(path)
    except OSError as error:
        kept = _kept_elsewhere(clip, path.name)
        where = "" if kept is None else f"; the video is kept as {kept}"
        raise UserError(f"cannot write {path}: {error.strerror or error}{where}") from None


def _kept_elsewhere(clip: Clip, name: str) -> Path | None:
    """Write a clip into a temporary folder; None where there is no room either."""
    folder = Path(tempfile.mkdtemp(prefix="text2video-"))
    try:
        return clip.save(folder / name)
    except OSError:
        folder.rmdir()
        return None


def _with_storyboard(settings: GenerationSettings, chat_model: ChatModel | None) -> GenerationSettings:
    """Return the settings with the storyboard that a chat model writes, if there is one, and show its prompts."""
    from generation.prompts import directed

    if chat_model is None or not is_directed(settings):
        return settings
    settings = directed(settings, chat_model)
    for frame, prompt in enumerate(load_storyboard(settings.storyboard)):
        write_remark(f"frame {frame}: {prompt}")
    return settings


def check_output(path: Path) -> None:
    """Make the folder and check that the video can be written in it, before minutes of work; raises InvalidSettings."""
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidSettings(f"output: {path} must end in {' or '.join(SUFFIXES)}")
    refusal = f"output: cannot write {path}"
    make_writable(path.parent, refusal)
    try:
        with suppress(FileNotFoundError):
            path.lstat()
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"{refusal}: {getattr(error, 'strerror', error)}") from None
    if path.is_dir():
        raise InvalidSettings(f"output: {path} is a folder")


def _default_path(facts: Mapping[str, Any], rows: Mapping[str, ModelRow]) -> Path:
    """Return an unused path for a video with these settings: of a model that was trained on videos a GIF that is named
    by its prompt, as in training, of any other an MP4 that is named by the time it was finished."""
    name = f"{datetime.now():%Y%m%d-%H%M%S}-{facts['seed']}.mp4"
    if rows[facts["model"]].trained_on_videos:
        name = file_name(facts["prompt"], ".gif")
    path, number = OUTPUT_FOLDER / name, 2
    while path.exists():
        path, number = OUTPUT_FOLDER / f"{Path(name).stem}-{number}{path.suffix}", number + 1
    return path
