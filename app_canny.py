"""The tab in which the edges of a video steer the result (arXiv 2303.13439, section 3.4)."""

from web.tabs import control_tab

TAB = control_tab("canny", "Edges", "Video whose edges are followed", rows=(("canny_low", "canny_high"),))

if __name__ == "__main__":
    import web.page

    web.page.main([TAB])
