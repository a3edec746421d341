"""One job: ``generate`` in a thread of its own, watched from an event loop, and ended when nobody watches."""

import asyncio
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from settings import Settings

Generate = Callable[..., Any]  # Model.generate: (settings, on_step=, cancel=) -> Clip


async def run_job(
    generate: Generate, settings: Settings, suffix: str, output_dir: Path | None
) -> AsyncGenerator[Any, None]:
    """Generate in a thread; yields each Progress, at last ``(clip, path)``, whose file lives until the next step.

    Whoever closes this generator (Cancel, a closed tab, a server that stops) ends the job and waits until it has
    really ended: the place in the queue is not free while the model is not. What it wrote is gone then.
    """
    loop, cancel = asyncio.get_running_loop(), threading.Event()
    updates: asyncio.Queue[Any] = asyncio.Queue()
    with tempfile.TemporaryDirectory(prefix="text2video-") as folder:
        path = Path(folder) / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}.{suffix}"

        def on_step(progress: Any) -> None:
            loop.call_soon_threadsafe(updates.put_nowait, progress)

        def work() -> Any:
            try:
                clip = generate(settings, on_step=on_step, cancel=cancel)
                clip.save(path)
                return clip
            finally:
                on_step(None)

        job = loop.run_in_executor(None, work)
        try:
            while (progress := await updates.get()) is not None:
                if updates.empty():  # a slow connection gets the newest step, not every one
                    yield progress
            clip = await job
            if output_dir is not None:
                await asyncio.to_thread(_keep, path, output_dir)
            yield clip, path
        finally:
            cancel.set()
            await asyncio.wait([job])
            job.exception()  # looked at, or asyncio complains of an error that nobody saw


def _keep(path: Path, output_dir: Path) -> None:
    """Copy a finished video into the operator's folder, under its own name only when it is whole."""
    partial = output_dir / f".{path.name}.part"
    try:
        shutil.copyfile(path, partial)
        os.replace(partial, output_dir / path.name)
    finally:
        partial.unlink(missing_ok=True)
