"""Schedulers by the names that the settings have for them."""

from typing import Any


def build_scheduler(name: str, config: Any) -> Any:
    """Return the scheduler of this name on a checkpoint's own noise schedule, ``config``."""
    import diffusers

    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "ddim": (diffusers.DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": False}),
        "dpm++ 2m": (diffusers.DPMSolverMultistepScheduler, {}),
        "dpm++ 2m karras": (diffusers.DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
        "euler": (diffusers.EulerDiscreteScheduler, {}),
        "euler a": (diffusers.EulerAncestralDiscreteScheduler, {}),
        "unipc": (diffusers.UniPCMultistepScheduler, {}),
        "lcm": (diffusers.LCMScheduler, {}),
    }
    kind, options = kinds[name]
    return kind.from_config(config, **options)
