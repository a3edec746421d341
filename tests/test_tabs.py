"""The tabs that take files, as a program sees them: a real server, with a model that is quick and false."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fakes import FakeModel, free_port, started_library
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

import app_canny
import app_depth
import app_pix2pix
import app_pose
import app_text_to_video
from media.video_io import probe
from settings import ControlSettings
from web import server
from web.context import PageContext
from web.generate import GenerationJobs
from web.tabs import EXAMPLES, Tab, create_demo

TABS = (app_text_to_video.TAB, app_canny.TAB, app_depth.TAB, app_pose.TAB, app_pix2pix.TAB)


class Page:
    """A running tab and its model."""

    def __init__(self, tab: Tab, data: Path):
        self.model = FakeModel()
        self.library = started_library(self.model, data)
        context = PageContext(self.library, self.model.rows, self.model.default, lambda path: {})
        self.blocks = create_demo(tab, context)
        self.url = server.start(self.blocks, server.Address(port=free_port()), [self.library.folder.clips])
        self.client = Client(self.url, verbose=False)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Iterator[Page]:
    page = Page(app_canny.TAB, tmp_path_factory.mktemp("data"))  # takes both, a video and a first frame
    yield page
    page.blocks.close()
    assert page.library.close()


@pytest.fixture
def upload(tmp_path) -> Path:
    path = tmp_path / "source.mp4"
    path.write_bytes(b"any bytes: the model alone reads them")
    return path


def test_a_video_goes_in_and_a_video_comes_out(page, upload):
    """The control is the tab's own; what was uploaded reaches the model as a file of the server's."""
    video, facts = page.client.predict(prompt="a fox", source=handle_file(str(upload)), num_frames=3, api_name="/canny")
    assert Path(video).stat().st_size > 0
    assert (facts["settings"]["control"], facts["settings"]["num_frames"]) == ("canny", 3)
    source = page.model.given["source"]
    assert page.model.read["source"] == upload.read_bytes()
    assert source != upload


def test_the_control_cannot_be_another_tabs(page, upload):
    """It is no parameter of this endpoint."""
    with pytest.raises(TypeError, match="not a valid key-word"):
        page.client.predict(prompt="a fox", control="pose", source=handle_file(str(upload)), api_name="/canny")


@pytest.mark.parametrize(
    "attack",
    [
        {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
        {"path": str(Path(__file__).resolve()), "meta": {"_type": "gradio.FileData"}},
        {"path": "../../etc/passwd", "meta": {"_type": "gradio.FileData"}},
        {"path": "http://127.0.0.1:1/video.mp4", "meta": {"_type": "gradio.FileData"}},
        {"path": "file:///etc/passwd", "meta": {"_type": "gradio.FileData"}},
        {"path": "/etc/passwd"},
        {"path": "/etc/passwd", "meta": {"_type": "x"}},
        {"path": "/etc/passwd", "meta": None},
        {"path": "a\0b"},
        {"url": "http://127.0.0.1:1/x.png"},
        {"url": "data:image/png;base64,AAAA"},
        "/etc/passwd",
        ["/etc/passwd"],
        5,
        {},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["source", "first_frame"])
def test_only_an_upload_is_a_file(page, name, attack):
    """Paths, URLs and whatever else a client names never reach the model; Gradio lets a picture's through."""
    page.model.given = {}
    endpoint = page.client.view_api(return_format="dict", print_info=False)["named_endpoints"]["/canny"]
    values = {parameter["parameter_name"]: parameter["parameter_default"] for parameter in endpoint["parameters"]}
    values |= {"prompt": "a fox", name: attack}
    with httpx.Client(base_url=f"{page.url}gradio_api", timeout=60) as client:
        reply = client.post("/call/canny", json={"data": list(values.values())})
        answer = reply.text
        if reply.status_code == 200:
            answer = client.get(f"/call/canny/{reply.json()['event_id']}").text
            assert "event: error" in answer
    assert "root:" not in answer
    assert page.model.given == {}


@pytest.mark.parametrize("offered", [(), ("style",)], ids=["nothing offered", "LoRA, VAE and style offered"])
@pytest.mark.parametrize("tab", TABS, ids=lambda tab: tab.label)
def test_every_tab_asks_for_exactly_what_its_mode_has(tab, offered, tmp_path):
    """Each setting is a parameter, fixed by the tab, says nothing here, or has nothing to choose from; defaults are the
    class's."""
    model = FakeModel()
    library = started_library(model, tmp_path)
    context = PageContext(
        library, model.rows, model.default, lambda path: {}, **dict.fromkeys(("loras", "vaes", "styles"), offered)
    )
    blocks = create_demo(tab, context)
    endpoint = blocks.get_api_info()["named_endpoints"][f"/{tab.endpoint}"]
    asked = [parameter["parameter_name"] for parameter in endpoint["parameters"]]
    files = {"source": tab.source is not None, "first_frame": tab.first_frame}
    absent = () if offered else ("style", "lora", "lora_scale", "vae")
    expected = [name for name in tab.kind.model_fields if name not in (*tab.fixed, *tab.hidden, *absent)]
    assert asked == [*expected, "format", *(name for name, given in files.items() if given)]
    values = {parameter["parameter_name"]: parameter["parameter_default"] for parameter in endpoint["parameters"]}
    shown = {name: value for name, value in values.items() if name in expected and name != "prompt"}
    nothing = {None: ""}
    for name, value in shown.items():
        default = tab.kind.model_fields[name].default
        assert value == nothing.get(default, default), name


@pytest.mark.parametrize("tab", [tab for tab in TABS if tab.source], ids=lambda tab: tab.label)
def test_every_example_clip_is_a_video_that_can_be_read(tab):
    """Every tab that wants a video has some to offer, small, and with a prompt that its settings accept."""
    assert len(tab.clips) >= 2
    for clip in tab.clips:
        facts = probe(EXAMPLES / clip.file)
        assert facts.width == facts.height == 512
        assert tab.kind(prompt=clip.prompt, **tab.fixed).prompt == clip.prompt
    assert sum(path.stat().st_size for path in EXAMPLES.iterdir()) < 3_000_000


def test_an_optional_number_may_have_a_fraction_and_may_be_empty(page, upload):
    """The text field of an open guidance scale: a number as people write it, or nothing."""
    for written, meant in (("2.5", 2.5), ("2,5", 2.5), (" 3 ", 3.0), ("", None), (4.5, 4.5)):
        source = handle_file(str(upload))
        _, facts = page.client.predict(prompt="a fox", source=source, guidance_scale=written, api_name="/canny")
        assert facts["settings"]["guidance_scale"] == meant
    with pytest.raises(AppError, match="guidance_scale: must be a number"):
        page.client.predict(prompt="a fox", source=handle_file(str(upload)), guidance_scale="2,5,1", api_name="/canny")


def test_a_controlled_tab_offers_only_models_that_can_be_steered(page):
    """Stable Diffusion XL has no ControlNet here, and an editor does not draw."""
    offered = [name for name, row in page.model.rows.items() if app_canny.TAB.suits(row)]
    assert "toyworld" in offered
    assert not {"stabilityai/stable-diffusion-xl-base-1.0", "toyworld-edit"} & set(offered)
    assert app_text_to_video.TAB.suits(page.model.rows["stabilityai/stable-diffusion-xl-base-1.0"])


def test_a_video_of_another_tab_is_another_tabs():
    """Settings for skeletons do not become settings for edges."""
    jobs = GenerationJobs(ControlSettings, "canny", {"control": "canny"})
    assert jobs.makes(ControlSettings(prompt="a fox", control="canny").to_dict())
    assert not jobs.makes(ControlSettings(prompt="a fox", control="pose").to_dict())
