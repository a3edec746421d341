"""Storyboards: a prompt for every frame, written by hand or by a language model (DirecT2V, arXiv 2305.14330)."""
