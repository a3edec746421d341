"""The tab in which the depth of a video steers the result."""

from web.tabs import control_tab

TAB = control_tab("depth", "Depth", "Video whose depth is followed")

if __name__ == "__main__":
    import web.page

    web.page.main([TAB])
