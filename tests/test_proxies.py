"""Proxies that the environment names: for everything but this machine; one line where they are of no use."""

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import utils
from errors import InvalidSettings
from utils import ask_hub, reach_this_machine_directly, unusable_proxies_hidden

ROOT = Path(__file__).parents[1]
NAMES = [spelling for name in (*utils.PROXY_VARIABLES, "NO_PROXY") for spelling in (name, name.lower())]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    """An environment that names none."""
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.parametrize("variable", NAMES[:6])
def test_this_machine_is_reached_directly_and_everything_else_through_the_proxy(monkeypatch, variable):
    """Gradio asks its own address when it starts; so does whoever names a server on this machine."""
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "example.org")
    reach_this_machine_directly("192.168.7.7")
    for host in ("localhost", "127.0.0.1", "::1", "192.168.7.7", "example.org"):
        assert urllib.request.proxy_bypass(host)
    assert not urllib.request.proxy_bypass("huggingface.co")
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"]


def test_where_no_proxy_is_named_nothing_is_changed():
    """A variable would hide the settings of the system."""
    reach_this_machine_directly()
    assert "NO_PROXY" not in os.environ


@pytest.mark.parametrize("variable", NAMES[:6])
@pytest.mark.parametrize("address", ["socks5://127.0.0.1:9", "socks4://a:1", "http://a:port", "http://"])
def test_a_proxy_of_no_use_is_one_line_with_its_variable(monkeypatch, variable, address):
    """For the page and for whatever asks the Hub; no exception of a library."""
    monkeypatch.setattr(utils, "find_spec", lambda name: None)
    monkeypatch.setenv(variable, address)
    with pytest.raises(InvalidSettings, match=f"^{variable}: "):
        reach_this_machine_directly()
    with pytest.raises(InvalidSettings, match=f"^{variable}: "):
        ask_hub("someone/model")
    with unusable_proxies_hidden():
        assert variable not in os.environ
    assert os.environ[variable] == address


def test_the_page_says_it_in_one_line():
    """Although Gradio fails while it is imported."""
    environment = {**os.environ, "ALL_PROXY": "socks4://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ALL_PROXY: ")
    assert done.stderr.count("\n") == 1


def test_a_temporary_folder_that_cannot_be_written_is_one_line(tmp_path):
    """With its variable; before anything is built."""
    (tmp_path / "file").touch()
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(tmp_path / "file")}
    done = subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: GRADIO_TEMP_DIR: cannot write files in ")
    assert done.stderr.count("\n") == 1
