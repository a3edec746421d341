"""One job: ``generate`` in a thread of its own, watched from an event loop, and ended when nobody watches."""

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
from typing import Any

from settings import Settings

Generate = Callable[..., Any]  # Model.generate: (settings, on_step=, cancel=, source=, first_frame=) -> Clip


@dataclass(frozen=True)
class Finished:
    """A finished clip, its file, and the file of what steered it or was edited, where there is such a thing."""

    clip: Any
    path: Path
    control: Path | None


async def run_job(
    generate: Generate, settings: Settings, suffix: str, output_dir: Path | None, given: Mapping[str, Path]
) -> AsyncGenerator[Any, None]:
    """Generate in a thread from settings and the ``given`` files; yields each Progress, at last ``Finished``, whose
    files live until the next step. Closing it ends the job, as in ``run_in_thread``; what was written is gone then."""
    with tempfile.TemporaryDirectory(prefix="text2video-") as folder:
        name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        path, control = Path(folder) / f"{name}.{suffix}", Path(folder) / f"{name}-control.mp4"

        def work(on_step: Callable[[Any], None], cancel: threading.Event) -> Finished:
            clip = generate(settings, on_step=on_step, cancel=cancel, **given)
            clip.save(path)
            return Finished(clip, path, clip.save_control(control))

        async with aclosing(run_in_thread(work)) as updates:
            async for update in updates:
                if isinstance(update, Finished) and output_dir is not None:
                    await asyncio.to_thread(keep, path, output_dir)
                yield update


async def run_in_thread(work: Callable[[Callable[[Any], None], threading.Event], Any]) -> AsyncGenerator[Any, None]:
    """Work in a thread, which gets ``tell(update)`` and ``cancel``; yields the updates, and at last what it returns.

    Whoever closes this generator (Cancel, a closed tab, a server that stops) ends the work and waits until it has
    really ended: the place in the queue is not free while the model is not.
    """
    loop, cancel = asyncio.get_running_loop(), threading.Event()
    updates: asyncio.Queue[Any] = asyncio.Queue()

    def tell(update: Any) -> None:
        loop.call_soon_threadsafe(updates.put_nowait, update)

    def watched() -> Any:
        try:
            return work(tell, cancel)
        finally:
            tell(None)

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
    """Copy a finished file into the operator's folder, under its own name only when it is whole."""
    partial = output_dir / f".{path.name}.part"
    try:
        shutil.copyfile(path, partial)
        os.replace(partial, output_dir / path.name)
    finally:
        partial.unlink(missing_ok=True)
