"""The tab in which the edges of a video steer the result (arXiv 2303.13439, section 3.4)."""

from settings import ControlSettings
from tabs import Tab

TAB = Tab(
    label="Edges",
    kind=ControlSettings,
    endpoint="canny",
    fixed={"control": "canny"},
    source="Video whose edges are followed",
    rows=(("source_is_control", "conditioning_scale"), ("num_frames", "fps"), ("canny_low", "canny_high")),
    hidden=("depth_estimator",),
    first_frame=True,
)

if __name__ == "__main__":
    import app

    app.main(tabs=[TAB])
