"""A training loop that can be killed: it resumes from its state, and logs progress and remaining time."""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

logger = logging.getLogger(__name__)


class Stateful(Protocol):
    """Anything with a state to keep: a module, an optimizer, a scheduler, an average."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class OutOfTime(Exception):
    """A deadline came before the end of a course, whose state is kept: ``done`` of ``steps``, ``seconds_per_step`` each
    (not a number where none was done)."""

    def __init__(self, course: str, done: int, steps: int, seconds_per_step: float) -> None:
        super().__init__(f"{course}: {done} of {steps} steps")
        self.course, self.done, self.steps, self.seconds_per_step = course, done, steps, seconds_per_step


class ExponentialAverage:
    """The exponential moving average of a module's parameters, with a warm-up so that early steps count little."""

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.shadow = {name: value.detach().clone().float() for name, value in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: torch.nn.Module) -> None:
        """Move the average towards the module's present parameters."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        names, values = zip(*module.named_parameters(), strict=True)
        torch._foreach_lerp_([self.shadow[name] for name in names], [value.float() for value in values], 1 - decay)

    def copy_to(self, module: torch.nn.Module) -> None:
        """Write the average into a module of the same architecture."""
        missing = module.load_state_dict(self.shadow, strict=False)
        if missing.unexpected_keys:
            raise ValueError(f"not the averaged module: {missing.unexpected_keys[:3]}")

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps and the averaged parameters."""
        return {"steps": self.steps, "shadow": self.shadow}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue an average that was kept."""
        self.steps = state_dict["steps"]
        for name, value in state_dict["shadow"].items():
            self.shadow[name].copy_(value)


def take_step(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    average: ExponentialAverage | None = None,
) -> None:
    """Apply the gradients, those of ``model`` clipped to a norm of 1; step the learning rate and the average too."""
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    schedule.step()
    if average is not None:
        average.update(model)


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that a kill leaves either the old file or the new one."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def run_steps(
    path: Path,
    steps: int,
    parts: dict[str, Stateful],
    step: Callable[[int], dict[str, float]],
    *,
    save_every_s: float = 60.0,
    log_every_s: float = 20.0,
    review: Callable[[], None] | None = None,
    review_every_s: float = 600.0,
    device: str = "cpu",
    writes: bool = True,
    deadline: float = math.inf,
) -> None:
    """Call ``step(index)`` up to ``steps`` times, keeping the state of ``parts`` in ``path``.

    ``step`` must depend on its index alone for its data and noise; then a killed run continues on the very
    course it would have taken. It returns numbers to log, which are averaged between two log lines. ``review``
    is called now and then, since the loss alone hides failure. Of several processes at the same steps one ``writes``.
    No step begins after ``deadline`` (of ``time.monotonic``): then the state is kept and OutOfTime raised.
    """
    done = 0
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        done = state["done"]
        logger.info("%s: resuming after step %d of %d", path.stem, done, steps)

    def save() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_atomically({"done": done} | {name: part.state_dict() for name, part in parts.items()}, path)

    first, started = done, time.monotonic()
    saved, logged, reviewed = started, started, started
    sums: dict[str, float] = {}
    count = 0
    while done < steps and time.monotonic() < deadline:
        for name, value in step(done).items():
            sums[name] = sums.get(name, 0.0) + value
        done, count, now = done + 1, count + 1, time.monotonic()
        if now - logged > log_every_s or done == steps:
            rate = (done - first) / (now - started)
            logger.info(
                "%s: step %d/%d, %.2f steps/s, ready in %.1f min, %s",
                path.stem,
                done,
                steps,
                rate,
                (steps - done) / rate / 60,
                " ".join(f"{name} {value / count:.4f}" for name, value in sums.items()),
            )
            logged, sums, count = now, {}, 0
        if writes and now - saved > save_every_s:
            save()
            saved = time.monotonic()
        if review is not None and now - reviewed > review_every_s:
            review()
            reviewed = time.monotonic()
    if writes and done > first:
        save()
    if done < steps:
        each = (time.monotonic() - started) / (done - first) if done > first else math.nan
        raise OutOfTime(path.stem, done, steps, each)
