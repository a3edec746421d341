"""The tab in which the people of a video steer the result (arXiv 2303.13439, section 3.4)."""

from web.tabs import control_tab

TAB = control_tab("pose", "Pose", "Video whose people are followed")

if __name__ == "__main__":
    import web.page

    web.page.main([TAB])
