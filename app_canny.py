"""The tab in which the edges of a video steer the result (arXiv 2303.13439, section 3.4)."""

from settings import ControlSettings
from web.tabs import ExampleClip, Tab

TAB = Tab(
    label="Edges",
    kind=ControlSettings,
    endpoint="canny",
    fixed={"control": "canny"},
    source="Video whose edges are followed",
    rows=(("source_is_control", "conditioning_scale"), ("num_frames", "fps"), ("canny_low", "canny_high")),
    hidden=("depth_estimator",),
    clips=(
        ExampleClip("A circle moves", "plain-circle.mp4", "a blue circle on sand"),
        ExampleClip("A star turns", "plain-star.mp4", "a pink star on the sea"),
        ExampleClip("A heart grows", "plain-heart.mp4", "a red heart at night"),
        ExampleClip("Somebody waves", "plain-person.mp4", "a person in a red shirt and white trousers waving on grass"),
    ),
    first_frame=True,
)

if __name__ == "__main__":
    import web.page

    web.page.main([TAB])
