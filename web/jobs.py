"""Work of the page in a thread of its own, watched from an event loop and ended when nobody watches it."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

Update = TypeVar("Update")
Result = TypeVar("Result")


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
