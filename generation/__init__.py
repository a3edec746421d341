"""From settings to frames: the recipe of a job, its sources, prompts, modes and progress."""
