"""The page: its tabs around one model, served as its options say."""

import argparse
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import gradio as gr

from comparison.options import pipelines_offered
from comparison.runner import prepare
from director.director import ChatModel
from director.options import language_model
from library.clips import Limits
from library.service import Library, open_library
from library.visits import Visits
from media.metadata import read_metadata
from model import Model
from model_manager.hub import without_downloads
from model_manager.options import read_extras
from page_options import LOCAL_QUEUE, PUBLIC_QUEUE, read_options
from utils import HUB_ACCESS, reach_this_machine_directly
from web import protection, server
from web.context import PageContext, PageTab
from web.events import PAGE_ONLY
from web.html import HEADER, status_html
from web.job_panel import add_job_panel
from web.opening import connect_drops, connect_opening
from web.tabs import EXAMPLES
from web.temporary_files import own_folder
from web.zero_gpu import ZeroGpuModel, has_spaces

SCRIPT = Path(__file__).with_name("page.js")
OWNERS_SHARE = 4  # one visitor of a shared page may fill this part of the list


def create_app(
    model: Model,
    *,
    tabs: Sequence[PageTab],
    library: Library | None = None,
    chat_model: ChatModel | None = None,
    engines: Sequence[str] = (),
) -> gr.Blocks:
    """Build the page of these tabs around one model and, where there is one, a language model (``chat_model``).

    Nothing is loaded before the first job. Clips and jobs are kept in ``library``, by itself one in the platform's own
    place that everybody on the page shares. ``engines`` are pipelines of diffusers that everybody who sees the page
    may have downloaded and run.
    """
    offered = model.catalogue
    library = open_library(model.generate) if library is None else library
    with gr.Blocks(title="Text2Video-Zero Studio", analytics_enabled=False) as page:
        header = gr.HTML(HEADER)
        page.load(lambda: header_html(library), None, header, **PAGE_ONLY)
        dropped = gr.HTML()
        with gr.Tabs() as all_tabs:
            context = PageContext(
                library=library,
                rows=model.rows,
                default=model.default,
                read_metadata=read_metadata,
                loras=offered.loras,
                vaes=offered.vaes,
                embeddings=offered.embeddings,
                styles=offered.styles,
                chat_model=chat_model,
                compare=partial(prepare, model=model, chat_model=chat_model),
                engines=engines,
                tabs=all_tabs,
            )
            for tab in tabs:
                with gr.Tab(tab.label, id=tab.label):
                    tab.build(context)
        add_job_panel(context, page)
        connect_opening(context)
        connect_drops(context, dropped)
        page.load(None, None, None, js=SCRIPT.read_text(encoding="utf-8"), **PAGE_ONLY)
    library.worker.start()
    return page


def header_html(library: Library) -> str:
    """Return the title of the page, with the line about what is not kept or was lost."""
    return HEADER + status_html(library.trouble, "error") if library.trouble else HEADER


def main(tabs: Sequence[PageTab], arguments: Sequence[str] | None = None) -> None:
    """Serve a page of these tabs; options as ``read_options`` reads them."""
    serve_page(tabs, read_options(arguments))


def serve_page(tabs: Sequence[PageTab], options: argparse.Namespace) -> None:
    """Serve a page of these tabs as the options say; a mistake in them is one line and exit code 2."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    server.logger.setLevel(logging.INFO)
    with server.exit_on_user_error():
        reach_this_machine_directly()
        server.check_temporary_folder()
        with own_folder(), HUB_ACCESS.for_a_while():
            _serve(tabs, options)


def _serve(tabs: Sequence[PageTab], options: argparse.Namespace) -> None:
    """Serve a page of these tabs until it is ended; raises UserError."""
    address = server.Address(options.host, options.port, options.share, options.auth, options.proxy, options.mcp)
    engines = pipelines_offered(options.engine, local=address.local)
    default = (options.model or ["auto"])[0]
    kind = ZeroGpuModel if has_spaces() else Model
    model = kind(options.model, options.device, default, read_extras(options))
    if not (address.local or options.downloads):
        named = {"models": options.model, "engines": engines, "language_model": options.llm_model}
        HUB_ACCESS.restrict(protection.named_sources(model.catalogue, **named))
        model.offer(without_downloads(model.rows))
    shared = not address.local or address.auth is not None
    queue_size = options.queue_size or (PUBLIC_QUEUE if shared else LOCAL_QUEUE)
    library = open_library(
        model.generate,
        data_dir=options.data_dir,
        clips_dir=options.output_dir,
        shared=shared,
        visits=Visits() if has_spaces() else None,
        most_per_owner=max(1, queue_size // OWNERS_SHARE) if shared else queue_size,
        most_in_all=queue_size,
        limits=Limits(options.keep_days, None if options.keep_gb is None else int(options.keep_gb * 1e9)),
    )
    chat_model = language_model(options, from_environment=True)
    page = create_app(model, tabs=tabs, library=library, chat_model=chat_model, engines=engines)
    server.serve(page, address, [EXAMPLES], library)
