"""Training of the storybook's networks: ``python -m training.storybook``."""
