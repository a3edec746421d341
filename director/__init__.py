"""Storyboards: a prompt for every frame, written by hand or by a chat model (DirecT2V, arXiv 2305.14330)."""
