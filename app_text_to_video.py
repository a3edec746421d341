"""The tab that turns one sentence into a video (Text2Video-Zero, arXiv 2303.13439)."""

from settings import TextToVideoSettings
from web.tabs import Tab

TAB = Tab(
    label="Text to video",
    kind=TextToVideoSettings,
    endpoint="text_to_video",
    rows=(("num_frames", "fps"), ("motion_field_strength_x", "motion_field_strength_y")),
    first_frame=True,
)

if __name__ == "__main__":
    import web.page

    web.page.main([TAB])
