"""Language models on this machine: a tiny chat model, and folders that are none."""

import json
import shutil
import time

import pytest

from director import local_llm
from director.local_llm import local
from director.remote_llm import LanguageModelOptions, connect
from errors import DirectorError, ModelUnavailable, UserError

MESSAGES = [{"role": "system", "content": "Answer."}, {"role": "user", "content": "Größe 🎈?"}]
HASTE_S = 0.4
TEMPLATE = "{% for message in messages %}{{ message.role }} : {{ message.content }} . {% endfor %}assistant : "


@pytest.fixture(scope="module")
def chat_folder(components, tmp_path_factory):
    """A tiny random Llama with a tokenizer that has a chat template, as a folder of safetensors."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny-chat"
    tokenizer = components["tokenizer"]
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    set_template(folder, TEMPLATE)
    return folder


def set_template(folder, template):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))


def test_a_local_model_is_loaded_when_first_asked_and_then_kept(chat_folder, monkeypatch):
    loads = []
    load = local_llm.load_chat_model
    monkeypatch.setattr(local_llm, "load_chat_model", lambda *named: loads.append(named) or load(*named))
    complete = local(str(chat_folder), max_new_tokens=8)
    assert loads == []
    first = complete(MESSAGES)
    assert first
    assert complete(MESSAGES) == first
    assert "Größe" not in first
    assert loads == [(str(chat_folder), "cpu")]


def test_a_local_model_stops_in_time(chat_folder):
    complete = local(str(chat_folder), timeout_s=HASTE_S, max_new_tokens=1_000_000)
    begun = time.monotonic()
    with pytest.raises(DirectorError, match=r"did not answer within 0\.4 seconds"):
        complete(MESSAGES)
    assert time.monotonic() - begun < HASTE_S + 2


def test_options_without_an_address_are_a_local_model(chat_folder, monkeypatch):
    monkeypatch.setattr("director.remote_llm.local", lambda model, device: lambda messages: f"{model} on {device}")
    assert connect(LanguageModelOptions(None, "tiny"))(MESSAGES) == "tiny on cpu"


def spoil_weights(folder):
    (folder / "model.safetensors").write_bytes(b"not safetensors")


def pickle_weights(folder):
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize("spoil", [spoil_weights, pickle_weights, lambda folder: (folder / "config.json").unlink()])
def test_a_spoilt_or_pickled_model_is_one_clear_line(chat_folder, tmp_path, spoil):
    folder = shutil.copytree(chat_folder, tmp_path / "spoilt")
    spoil(folder)
    with pytest.raises(ModelUnavailable, match="the language model spoilt could not be loaded") as raised:
        local(str(folder))(MESSAGES)
    assert str(tmp_path) not in str(raised.value)


@pytest.mark.parametrize("template", [None, "{{ raise_exception('no system role') }}"])
def test_a_model_that_is_not_for_chats_is_one_clear_line(chat_folder, tmp_path, template):
    folder = shutil.copytree(chat_folder, tmp_path / "plain")
    set_template(folder, template)
    with pytest.raises(ModelUnavailable, match="not one to chat with"):
        local(str(folder))(MESSAGES)


def test_a_model_that_is_not_here_and_not_reachable(monkeypatch):
    def unreachable(source):
        raise ConnectionError(source)

    monkeypatch.setattr("utils.ask_hub", unreachable)
    with pytest.raises(UserError, match="the language model nobody/nothing could not be loaded"):
        local("nobody/nothing")(MESSAGES)
