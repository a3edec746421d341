"""The tab in which the people of a video steer the result (arXiv 2303.13439, section 3.4)."""

from settings import ControlSettings
from tabs import Tab

TAB = Tab(
    label="Pose",
    kind=ControlSettings,
    endpoint="pose",
    fixed={"control": "pose"},
    source="Video whose people are followed",
    rows=(("source_is_control", "conditioning_scale"), ("num_frames", "fps")),
    hidden=("canny_low", "canny_high", "depth_estimator"),
    first_frame=True,
)

if __name__ == "__main__":
    import app

    app.main(tabs=[TAB])
