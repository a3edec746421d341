"""The tab in which an instruction edits a video (Video Instruct-Pix2Pix, arXiv 2303.13439, section 3.5)."""

from settings import EditSettings
from web.tabs import ExampleClip, Tab

TAB = Tab(
    label="Edit",
    kind=EditSettings,
    endpoint="pix2pix",
    source="Video to edit",
    rows=(("num_frames", "fps"), ("image_guidance_scale", "guidance_scale")),
    clips=(
        ExampleClip("A circle moves", "plain-circle.mp4", "turn the circle into a star"),
        ExampleClip("A star turns", "plain-star.mp4", "paint it red"),
        ExampleClip("A heart grows", "plain-heart.mp4", "make it night"),
        ExampleClip("Somebody waves", "plain-person.mp4", "make the shirt green"),
    ),
    edits=True,
)

if __name__ == "__main__":
    import web.page

    web.page.main([TAB])
