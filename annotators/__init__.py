"""Annotators, which draw the control frames of a video that a ControlNet follows, and the table of control kinds."""
