"""The tab in which the depth of a video steers the result."""

from settings import ControlSettings
from web.tabs import ExampleClip, Tab

TAB = Tab(
    label="Depth",
    kind=ControlSettings,
    endpoint="depth",
    fixed={"control": "depth"},
    source="Video whose depth is followed",
    rows=(("source_is_control", "conditioning_scale"), ("num_frames", "fps")),
    hidden=("canny_low", "canny_high"),
    clips=(
        ExampleClip("One passes the other", "depth-passing.mp4", "a red circle and a yellow star on the sea"),
        ExampleClip("Walk", "depth-walk.mp4", "a person in a white shirt and red trousers walking on sand"),
    ),
    first_frame=True,
)

if __name__ == "__main__":
    import web.page

    web.page.main([TAB])
