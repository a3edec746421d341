"""The web page: tabs, controls, result panel, jobs, server.

Gradio makes clients when it is imported, which fails with an exception of its own where a proxy cannot be used; the
page says so in one line when it starts.
"""

from utils import unusable_proxies_hidden

with unusable_proxies_hidden():
    import gradio  # noqa: F401 - before any module here
