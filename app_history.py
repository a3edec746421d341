"""The tab of finished clips and of the jobs that are still to be done."""

from web.history import HistoryTab

TAB = HistoryTab()

if __name__ == "__main__":
    import web.page

    web.page.main([TAB])
