"""What turns the frames of a video into the control frames that a ControlNet is steered by."""
