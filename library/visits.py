"""The newest request of each visitor, as the context that its handler ran in, so that a job runs inside it later.

Jobs run in a thread of their own, long after the request that added them. Where a library reads the visitor's request
from context variables (ZeroGPU charges a visitor's time so), the job needs that context.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextvars import Context, copy_context
from threading import Lock
from typing import TypeVar

MOST_VISITORS = 200  # remembered; the one who was here longest ago is forgotten first
Result = TypeVar("Result")


class Visits:
    """Contexts by owner."""

    def __init__(self) -> None:
        self._contexts: OrderedDict[str, Context] = OrderedDict()
        self._lock = Lock()

    def note(self, owner: str) -> None:
        """Remember the current context as the newest of an owner's."""
        with self._lock:
            self._contexts[owner] = copy_context()
            self._contexts.move_to_end(owner)
            while len(self._contexts) > MOST_VISITORS:
                self._contexts.popitem(last=False)

    def run(self, owner: str, work: Callable[[], Result]) -> Result:
        """Do some work in the newest context of an owner's, in the current one where none is known."""
        with self._lock:
            context = self._contexts.get(owner)
        return work() if context is None else context.copy().run(work)
