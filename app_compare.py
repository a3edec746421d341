"""The tab in which several engines draw the same prompts with the same seed, side by side."""

from web.compare_tab import CompareTab

TAB = CompareTab()

if __name__ == "__main__":
    import web.page

    web.page.main([TAB])
