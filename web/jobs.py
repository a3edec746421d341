"""Jobs of the page: work in a thread of its own, watched from an event loop and ended when nobody watches it."""

import asyncio
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from model import Clip, Progress
from settings import Settings

Generate = Callable[..., Clip]  # Model.generate: (settings, on_step=, cancel=, source=, first_frame=)
Update = TypeVar("Update")
Result = TypeVar("Result")


@dataclass(frozen=True)
class FinishedClip:
    """A finished clip, its file, and the file of the control video or of the video that was edited, if there is one."""

    clip: Clip
    path: Path
    control: Path | None


async def run_job(
    generate: Generate, settings: Settings, *, suffix: str, output_dir: Path | None, given: Mapping[str, Path]
) -> AsyncGenerator[Progress | FinishedClip, None]:
    """Generate a clip in a thread from settings and the ``given`` files (``source``, ``first_frame``).

    Yields the Progress of the steps and at last a FinishedClip, whose files live until the generator goes on. Closing
    the generator ends the job as in ``run_in_thread`` and deletes what was written.
    """
    with tempfile.TemporaryDirectory(prefix="text2video-") as folder:
        name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        path, control = Path(folder) / f"{name}.{suffix}", Path(folder) / f"{name}-control.mp4"

        def work(on_step: Callable[[Progress], None], cancel: threading.Event) -> FinishedClip:
            clip = generate(settings, on_step=on_step, cancel=cancel, **given)
            clip.save(path)
            return FinishedClip(clip, path, clip.save_control(control))

        async with aclosing(run_in_thread(work)) as updates:
            async for update in updates:
                if isinstance(update, FinishedClip) and output_dir is not None:
                    await asyncio.to_thread(keep, path, output_dir)
                yield update


async def run_in_thread(
    work: Callable[[Callable[[Update], None], threading.Event], Result],
) -> AsyncGenerator[Update | Result, None]:
    """Run ``work(report, cancel)`` in a thread; yields what it reports, and at last what it returns.

    Whoever closes this generator (Cancel, a closed tab, a server that stops) ends the work and waits until it has
    really ended: the place in the queue is not free while the model is not.
    """
    loop, cancel = asyncio.get_running_loop(), threading.Event()
    updates: asyncio.Queue[Update | None] = asyncio.Queue()

    def report(update: Update | None) -> None:
        loop.call_soon_threadsafe(updates.put_nowait, update)

    def watched() -> Result:
        try:
            return work(report, cancel)
        finally:
            report(None)

    job = loop.run_in_executor(None, watched)
    try:
        while (update := await updates.get()) is not None:
            if updates.empty():  # a slow connection gets the newest step, not every one
                yield update
        yield await job
    finally:
        cancel.set()
        await asyncio.wait([job])
        job.exception()  # looked at, or asyncio complains of an error that nobody saw


def keep(path: Path, output_dir: Path) -> None:
    """Copy a finished file into the operator's folder; it has its own name there only when it is whole."""
    partial = output_dir / f".{path.name}.part"
    try:
        shutil.copyfile(path, partial)
        os.replace(partial, output_dir / path.name)
    finally:
        partial.unlink(missing_ok=True)
