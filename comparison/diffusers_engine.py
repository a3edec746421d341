"""Text-to-video pipelines of diffusers as they are, loaded once and called any number of times."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from comparison.diffusers_call import (
    Parameters,
    StepReporter,
    as_video,
    default_number,
    fitting_length,
    length_name,
    parameters_of,
)
from comparison.diffusers_loader import load_pipeline, loading_failure
from comparison.engine_specs import DiffusersPipeline
from errors import GenerationFailed, InvalidSettings, ModelUnavailable, first_line
from generation.progress import OnStep, stop_if
from model_manager.discovery import name_of
from model_manager.memory import free_card_bytes, give_back_memory, is_shared
from model_manager.networks import networks_of, weights_bytes
from utils import LOADING_ERRORS, memory_errors

logger = logging.getLogger(__name__)
# Share of a card that weights may fill, so that there is room for the computation; a rule of thumb.
WEIGHTS_SHARE = 0.6
# Errors that other people's code may raise for arguments that do not fit; any other error is a bug of this program.
FOREIGN_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, OSError),
    *(RuntimeError, TypeError, ValueError),
)


class VideoPipeline:
    """Pipeline of diffusers on one device; ``name`` is used in messages."""

    def __init__(self, spec: DiffusersPipeline, name: str, device: str) -> None:
        self.spec, self.device = spec, device
        self.name = name_of(name) if Path(name).is_absolute() else name  # never a server's path
        self._pipeline: Any = None
        self._takes_turns = False

    def load(self) -> None:
        """Load the pipeline, from this machine or the Hub, and place it: on the device if it fits, else in main memory,
        from where its parts move to the device in turn. Raises ModelUnavailable with what to do."""
        import torch

        if self._pipeline is not None:
            return
        logger.info("loading %s on %s", self.name, self.device)
        try:
            with memory_errors():
                self._pipeline = load_pipeline(self.spec, self.name, self.device)
                self._place()
        except torch.OutOfMemoryError:
            reason = f"{self.name} does not fit into the memory of {self.device} now"
        except (*FOREIGN_ERRORS, *LOADING_ERRORS) as error:
            logger.info("loading %s failed", self.name, exc_info=True)
            reason = loading_failure(self.spec, self.name, error)
        else:
            return
        self.release()  # here, where no error holds on to what was half loaded
        raise ModelUnavailable(reason)

    def _place(self) -> None:
        self._pipeline.set_progress_bar_config(disable=True)
        needed = weights_bytes(networks_of(self._pipeline.components).values())
        if is_shared(self.device) or needed < WEIGHTS_SHARE * free_card_bytes(self.device):
            self._pipeline.to(self.device)
            return
        logger.info("%s is too large for the free memory of %s: its parts take turns", self.name, self.device)
        self._takes_turns = True
        self._pipeline.enable_model_cpu_offload(device=self.device)

    def generate(
        self,
        prompt: str,
        seed: int,
        sizes: Mapping[str, int] | None = None,
        *,
        on_step: OnStep | None = None,
        cancel: threading.Event | None = None,
    ) -> np.ndarray:
        """Draw a video: uint8 (frames, height, width, 3). The pipeline is loaded if it is not yet.

        Args:
            prompt: the content of the video.
            seed: of the noise, which comes from the CPU and is the same for every device.
            sizes: ``num_frames``, and ``width`` and ``height`` in px, in place of the specification's. The video is as
                long as asked for, or as little longer as the pipeline can draw.
            on_step: called after every denoising step of a pipeline that has callbacks.
            cancel: ends the job within a step.

        Raises ModelUnavailable, InvalidSettings for a size or length that the pipeline refuses, GenerationFailed, and
        Cancelled.
        """
        self.load()
        stop_if(cancel)
        parameters = parameters_of(self._pipeline.__call__)
        call = {**self.spec.call, **(sizes or {})}
        length = call.pop("num_frames", None)
        if length is not None:
            call[length_name(parameters)] = fitting_length(length, self.spec, self.name)
        steps, frames = (
            call.get(name, default_number(parameters, name))
            for name in ("num_inference_steps", length_name(parameters))
        )
        reporter = StepReporter(on_step, cancel, total=steps, frames=frames)
        call |= {**reporter.arguments(parameters), **randomness(seed), "prompt": prompt}
        return as_video(self._call(call, parameters, reporter), self.name)

    def _call(self, arguments: Mapping[str, Any], parameters: Parameters, reporter: StepReporter) -> object:
        """Return the frames of a call with those arguments that are parameters; raises its errors in one line."""
        import torch

        known = {name: value for name, value in arguments.items() if name in parameters}
        try:
            with memory_errors():
                output = self._pipeline(**known)
        except torch.OutOfMemoryError:
            failure: Exception = GenerationFailed(
                f"{self.name} ran out of memory on {self.device}: ask for fewer frames or a smaller size"
            )
        except FOREIGN_ERRORS as error:
            logger.info("%s broke down", self.name, exc_info=True)
            failure = self._failure(error, began=reporter.steps > 0)
        else:
            return output.frames if hasattr(output, "frames") else output.images
        finally:
            if self._takes_turns:
                self._pipeline.maybe_free_model_hooks()  # a call that broke off left a part on the card
        give_back_memory(self.device)
        raise failure

    def _failure(self, error: Exception, *, began: bool) -> Exception:
        """Return the error for the user: before the first step, a ValueError is a pipeline's check of its arguments."""
        if isinstance(error, ValueError) and not began:
            return InvalidSettings(
                f"{self.name}: {first_line(error) if str(error) else 'does not take these settings'}"
            )
        return GenerationFailed(
            f"{self.name} broke down ({type(error).__name__}): try another length or size, or leave it out"
        )

    def release(self) -> None:
        """Free hooks, weights, and the device's memory; it may be loaded again."""
        if self._pipeline is not None and self._takes_turns:
            self._pipeline.remove_all_hooks()
        self._pipeline, self._takes_turns = None, False
        give_back_memory(self.device)


def randomness(seed: int) -> dict[str, Any]:
    """Return arguments for noise from the CPU, and for frames as numbers that can be checked."""
    import torch

    return {"generator": torch.Generator("cpu").manual_seed(seed), "output_type": "np"}
