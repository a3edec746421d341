"""The web page: tabs, controls, result panel, jobs, server."""
