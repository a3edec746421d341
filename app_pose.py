"""The tab in which the people of a video steer the result (arXiv 2303.13439, section 3.4)."""

from settings import ControlSettings
from web.tabs import ExampleClip, Tab

TAB = Tab(
    label="Pose",
    kind=ControlSettings,
    endpoint="pose",
    fixed={"control": "pose"},
    source="Video whose people are followed",
    rows=(("source_is_control", "conditioning_scale"), ("num_frames", "fps")),
    hidden=("canny_low", "canny_high", "depth_estimator"),
    clips=(
        ExampleClip("Walk", "skeleton-walk.mp4", "a person in a red shirt and blue trousers walking on grass"),
        ExampleClip("Wave", "skeleton-wave.mp4", "a person in a yellow shirt and black trousers waving on sand"),
        ExampleClip("Jump", "skeleton-jump.mp4", "a person in a green shirt and white trousers jumping in the sky"),
        ExampleClip("Dance", "skeleton-dance.mp4", "a person in a pink shirt and purple trousers at night"),
    ),
    first_frame=True,
)

if __name__ == "__main__":
    import web.page

    web.page.main([TAB])
