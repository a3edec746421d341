"""The tab in which every frame has a prompt of its own (DirecT2V, arXiv 2305.14330)."""

from settings import DirectorSettings
from web.tabs import Tab

TAB = Tab(
    label="Director",
    kind=DirectorSettings,
    endpoint="direct",
    rows=(("num_frames", "fps"), ("anchor_period", "match_filter")),
    first_frame=True,
    storyboard=True,
)

if __name__ == "__main__":
    import web.page

    web.page.main([TAB])
