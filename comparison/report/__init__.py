"""Report of a comparison: one page, its clips, plots and tables."""
