"""The tab in which an instruction edits a video (Video Instruct-Pix2Pix, arXiv 2303.13439, section 3.5)."""

from settings import EditSettings
from tabs import Tab

TAB = Tab(
    label="Edit",
    kind=EditSettings,
    endpoint="pix2pix",
    source="Video to edit",
    rows=(("num_frames", "fps"), ("image_guidance_scale", "guidance_scale")),
    edits=True,
)

if __name__ == "__main__":
    import app

    app.main(tabs=[TAB])
