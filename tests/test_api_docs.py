"""The examples of docs/api.md run, on a real server with a model that is quick and false."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import FakeModel, free_port, read_fake_metadata

import app
from errors import UserError
from library.service import open_library
from web import server

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = (ROOT / "docs/api.md").read_text("utf-8")
USUAL_URL = "http://127.0.0.1:7860"


def blocks(language):
    """The examples in one language."""
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A page of all tabs that language models find as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        library = open_library(FakeModel().generate, data_dir=tmp_path_factory.mktemp("data"), read=read_fake_metadata)
        page = app.create_app(FakeModel(), library=library)
        yield server.start(page, server.Address(port=free_port(), mcp=True), [], library).rstrip("/")
        page.close(verbose=False)
        assert library.close()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of one's own, with the examples that the document names."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_document_names_every_endpoint(url):
    """No more and no fewer."""
    table = DOCUMENT.partition("|---|")[2].partition("\n\n")[0]
    named = re.findall(r"`(/\w+)`", "".join(line.split("|")[1] for line in table.splitlines()[1:]))
    assert sorted(named) == ["/canny", "/compare", "/depth", "/direct", "/pix2pix", "/pose", "/text_to_video"]


@pytest.mark.parametrize("code", [code for code in blocks("python") if "Client(" in code])
def test_python_examples_run(code, url, folder):
    """Files lie on the client's machine."""
    names: dict = {}
    exec(compile(code.replace(USUAL_URL, url), "api.md", "exec"), names)
    if "video" in names:
        assert Path(names["video"]).is_file()
        assert names["facts"]["settings"]["prompt"] == "a red circle on green grass"
        assert Path(names["edited"]).suffix == ".gif"
        assert (Path(names["report"]).suffix, len(names["results"]["engines"])) == (".zip", 2)
    else:
        assert Path(names["file"]).is_file()


@pytest.mark.parametrize("code", blocks("bash"))
def test_curl_examples_run(code, url, folder):
    """Event, stream and file; an upload; an error in its form."""
    script = f"set -e\n{code.replace(USUAL_URL, url)}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    if "out.mp4" in code:
        assert b"a red circle on green grass" in Path("out.mp4").read_bytes()  # a false clip begins with its settings
        assert "event: generating" in Path("events.txt").read_text()
    elif "upload" in code:
        assert "event: complete" in done.stdout
        assert "a pink star on the sea" in done.stdout
    else:
        assert json.loads(done.stdout)["field"] == "promt"


def test_the_example_of_an_error_has_its_form(url):
    """As it stands in the document."""
    (example,) = [text for text in blocks("json") if "error" in text]
    call = ["curl", "-s", f"{url}/gradio_api/call/v2/text_to_video", "-H", "Content-Type: application/json", "-d", "{}"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(example)


def test_the_package_is_used_from_another_folder(folder):
    """By the environment or by the program, with nothing installed."""
    (code,) = [code for code in blocks("python") if "sys.path" in code]
    code = code.partition("clip =")[0].replace("/path/to/text2video", str(ROOT))
    for text, environment in ((code, {}), ("import settings", {"PYTHONPATH": str(ROOT)})):
        subprocess.run([sys.executable, "-c", text], env=environment, check=True, timeout=60)


def test_language_models_find_the_endpoints_as_tools(url):
    """Under their own names; a call gives the clip and its facts."""
    session = pytest.importorskip("mcp.client.session")
    transport = pytest.importorskip("mcp.client.streamable_http")

    async def talk():
        async with (
            transport.streamable_http_client(f"{url}/gradio_api/mcp/") as (read, write, _),
            session.ClientSession(read, write) as model,
        ):
            await model.initialize()
            tools = {tool.name: tool for tool in (await model.list_tools()).tools}
            answer = await model.call_tool("text_to_video", {"prompt": "a red circle", "seed": 7})
            return tools, answer.content[0].text

    tools, answer = asyncio.run(talk())
    assert {"text_to_video", "compare", "direct", "canny", "depth", "pose", "pix2pix"} <= set(tools)
    assert tools["compare"].inputSchema["required"] == ["prompts"]
    assert "a-red-circle-7" in answer


def test_a_missing_package_is_one_line(monkeypatch):
    """It is wanted for the tools alone."""
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"--mcp needs a package that is not here: pip install -r requirements-mcp\.txt"
    ):
        server.start(None, server.Address(mcp=True))
