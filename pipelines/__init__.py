"""Text2Video-Zero as diffusers pipelines: parts (attention, motion, predictors, denoising) and one class per mode."""
