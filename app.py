"""The web page: one tab per mode, and the options it is started with."""

from collections.abc import Sequence
from functools import partial

import app_canny
import app_compare
import app_depth
import app_director
import app_history
import app_pix2pix
import app_pose
import app_text_to_video
import web.page
from web.context import PageTab

TABS: tuple[PageTab, ...] = (
    app_text_to_video.TAB,
    app_director.TAB,
    app_pose.TAB,
    app_canny.TAB,
    app_depth.TAB,
    app_pix2pix.TAB,
    app_compare.TAB,
    app_history.TAB,
)
create_app = partial(web.page.create_app, tabs=TABS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the page of all tabs; options as in ``web.page.main``."""
    web.page.main(TABS, arguments)


if __name__ == "__main__":
    main()
