"""The web page of all tabs, and the options it is started with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from page_options import read_options

if TYPE_CHECKING:
    import gradio as gr

    from web.context import PageTab


def all_tabs() -> tuple[PageTab, ...]:
    """Return the tabs in their order; they are imported here because the page's libraries take seconds."""
    import app_canny
    import app_compare
    import app_depth
    import app_director
    import app_history
    import app_pix2pix
    import app_pose
    import app_text_to_video

    return (
        app_text_to_video.TAB,
        app_director.TAB,
        app_pose.TAB,
        app_canny.TAB,
        app_depth.TAB,
        app_pix2pix.TAB,
        app_compare.TAB,
        app_history.TAB,
    )


def create_app(model: Any, **options: Any) -> gr.Blocks:
    """Build the page of all tabs; model and options as in ``web.page.create_app``."""
    import web.page

    return web.page.create_app(model, tabs=all_tabs(), **options)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the page of all tabs; options as in ``page_options.read_options``, read before the page is imported."""
    options = read_options(arguments)
    import web.page

    web.page.serve_page(all_tabs(), options)


if __name__ == "__main__":
    main()
