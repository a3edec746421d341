"""Text2Video-Zero as diffusers pipelines: parts (attention, motion, predictors, denoising) and one class per mode."""

from utils import quiet_imports

quiet_imports()
