"""A video diffusion model trained on captioned clips: ``python -m training.video_diffusion``."""
