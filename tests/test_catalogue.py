"""What is offered: files named one by one, folders, the folders of other programs; names for clients, never paths."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from annotators.controls import SD1_CONTROLNETS
from errors import ModelUnavailable
from generation.prompts import with_trigger
from model_manager import builtin_models, hub
from model_manager.catalogue import Extras, read_catalogue
from model_manager.checkpoint_formats import format_of, format_of_folder
from model_manager.discovery import is_hub_id, name_of
from model_manager.safetensors_header import read_shapes
from model_manager.textual_inversion import mentions, with_placeholders
from settings import TextToVideoSettings

WHOLE = {
    "cond_stage_model.transformer.text_model.final_layer_norm.weight": (2,),
    "first_stage_model.decoder.conv_in.weight": (2, 4, 3, 3),
}
CHECKPOINT = {"model.diffusion_model.input_blocks.0.0.weight": (2, 4, 3, 3), **WHOLE}
INPAINTING = {"model.diffusion_model.input_blocks.0.0.weight": (2, 9, 3, 3)}
LORA = {"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": (1, 4)}
VAE = {"first_stage_model.decoder.conv_in.weight": (2, 4, 3, 3)}
EMBEDDING = {"emb_params": (2, 768)}
CONTROLNET = {
    "control_model.input_hint_block.0.weight": (1, 3, 3, 3),
    "control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (1, 768),
}
A1111 = {
    "models/Stable-diffusion/realistic.safetensors": CHECKPOINT,
    "models/Stable-diffusion/anime/flat.safetensors": CHECKPOINT,
    "models/Lora/style.safetensors": LORA,
    "models/LyCORIS/deep/er/subject.safetensors": LORA,
    "models/VAE/soft.safetensors": VAE,
    "models/ControlNet/control_v11p_sd15_canny_fp16.safetensors": CONTROLNET,
    "embeddings/EasyNegative.safetensors": EMBEDDING,
}
COMFYUI = {
    "models/checkpoints/realistic.safetensors": CHECKPOINT,
    "models/checkpoints/anime/flat.safetensors": CHECKPOINT,
    "models/loras/style.safetensors": LORA,
    "models/loras/deep/er/subject.safetensors": LORA,
    "models/vae/soft.safetensors": VAE,
    "models/controlnet/control_v11p_sd15_canny_fp16.safetensors": CONTROLNET,
    "models/embeddings/EasyNegative.safetensors": EMBEDDING,
    "models/vae_approx/taesd.safetensors": VAE,
    "models/clip/clip_l.safetensors": EMBEDDING,
}


def fill(folder: Path, files: dict[str, dict[str, tuple[int, ...]]]) -> Path:
    """Small files with these names and shapes in them."""
    for name, shapes in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save_file({key: np.zeros(shape, np.float16) for key, shape in shapes.items()}, folder / name)
    return folder


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("T2V_MODELS", "T2V_LORAS", "T2V_VAES", "T2V_EMBEDDINGS", "T2V_MODELS_ROOT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("layout", [A1111, COMFYUI], ids=["A1111", "ComfyUI"])
@pytest.mark.parametrize("below", ["", "models"])
def test_the_folders_of_other_programs_are_offered_as_they_are(tmp_path, layout, below):
    """Both layouts, from the program's folder or its models folder, at any depth; nothing is copied or moved."""
    fill(tmp_path, layout)
    before = sorted(tmp_path.rglob("*"))
    found = read_catalogue(extras=Extras(roots=[str(tmp_path / below)]))
    assert set(found.models) - {row.name for row in builtin_models.BUILT_IN} == {
        "realistic.safetensors",
        "flat.safetensors",
    }
    assert (set(found.loras), set(found.vaes), set(found.embeddings)) == (
        {"style", "subject"},
        {"soft"},
        {"EasyNegative"},
    )
    assert all(Path(source).is_file() for source in found.loras.values())
    assert sorted(tmp_path.rglob("*")) == before


def test_a_controlnet_at_hand_serves_every_stable_diffusion_1(tmp_path):
    """Instead of the Hub's of the same kind; one for other checkpoints, or of a kind that its name does not tell, is
    left alone, and so are rows that have ControlNets of their own."""
    files = {
        "models/ControlNet/a_canny.safetensors": CONTROLNET,
        "models/ControlNet/control_v11p_sd15_canny.safetensors": CONTROLNET,
        "models/ControlNet/xl_depth.safetensors": {name: (*shape[:-1], 2048) for name, shape in CONTROLNET.items()},
        "models/ControlNet/scribble.safetensors": CONTROLNET,
    }
    fill(tmp_path, files)
    rows = read_catalogue(extras=Extras(roots=[str(tmp_path)])).models
    served = rows[builtin_models.STABLE_DIFFUSION.name].controlnets
    assert Path(served["canny"]).name == "control_v11p_sd15_canny.safetensors"
    assert (served["depth"], served["pose"]) == (
        SD1_CONTROLNETS["depth"],
        SD1_CONTROLNETS["pose"],
    )
    assert rows["toyworld"] is builtin_models.TOYWORLD


def test_what_cannot_be_used_is_left_out_with_a_line_in_the_log(tmp_path, caplog):
    """Half downloads, empty files, pickles, and files of another kind than their folder; loops of links end."""
    fill(tmp_path, {f"models/Lora/{name}.safetensors": LORA for name in ("good", "half")})
    fill(tmp_path, {"models/Lora/vae.safetensors": VAE, "models/Stable-diffusion/inpainting.safetensors": INPAINTING})
    folder = tmp_path / "models" / "Lora"
    with (folder / "half.safetensors").open("rb+") as file:
        file.truncate((folder / "half.safetensors").stat().st_size - 1)
    (folder / "empty.safetensors").touch()
    (folder / "text.safetensors").write_text("<html>not found</html>")
    (folder / "old.pt").write_bytes(b"\x80\x04.")
    (folder / "loading.safetensors.part").write_bytes(b"x")
    (folder / "loop").symlink_to(tmp_path / "models" / "Lora")
    with caplog.at_level(logging.WARNING):
        found = read_catalogue(extras=Extras(roots=[str(tmp_path)]))
    assert list(found.loras) == ["good"]
    assert not set(found.models) - {row.name for row in builtin_models.BUILT_IN}
    for name in ("half.safetensors is not whole", "empty.safetensors cannot be read", "old.pt is not a .safetensors"):
        assert name in caplog.text
    assert "inpainting.safetensors is not a checkpoint" in caplog.text


def header(text: str | bytes, length: int | None = None) -> bytes:
    """A file that begins as a safetensors file, with this header."""
    content = text.encode() if isinstance(text, str) else text
    return (len(content) if length is None else length).to_bytes(8, "little") + content


SHAPED = '{{"w.lora_down": {{"dtype": "F16", "shape": {shape}, "data_offsets": {place}}}}}'
ODD_HEADERS = {
    "null": header("null"),
    "number": header("7"),
    "list": header("[]"),
    "text": header('"lora_down"'),
    "tensor of null": header('{"w.lora_down": null}'),
    "metadata": header('{"__metadata__": 3, "w.lora_down": []}'),
    "infinite": header(SHAPED.format(shape="[1e400]", place="[0, 0]")),
    "negative": header(SHAPED.format(shape="[-1]", place="[0, 0]")),
    "true": header(SHAPED.format(shape="[true]", place="[0, 0]")),
    "shape as text": header(SHAPED.format(shape='"12"', place="[0, 0]")),
    "no place": header(SHAPED.format(shape="[1]", place="[]")),
    "endless place": header(SHAPED.format(shape="[1]", place="[0, 1e999]")),
    "nested": header("[" * 100_000),
    "latin": header(b'{"\xe9": 1}'),
    "long number": header(SHAPED.format(shape=f"[{'9' * 5000}]", place="[0, 0]")),
    "huge": header("{}", 84_000_000) + bytes(100),
    "short": b"\1",
}


def test_an_odd_file_in_a_models_root_never_prevents_the_start(tmp_path, caplog):
    """Each is left out with a line; of a pipe nothing is read, which would wait for ever."""
    folder = tmp_path / "models" / "Lora"
    fill(tmp_path, {"models/Lora/good.safetensors": LORA})
    for name, content in ODD_HEADERS.items():
        (folder / f"{name}.safetensors").write_bytes(content)
    os.mkfifo(folder / "pipe.safetensors")
    (folder / "gone.safetensors").symlink_to(folder / "nowhere")
    checkpoints = tmp_path / "models" / "Stable-diffusion"
    for name, index in {"list": "[]", "null": "null", "class": '{"_class_name": ["a"]}', "deep": "[" * 99_999}.items():
        (checkpoints / name).mkdir(parents=True)
        (checkpoints / name / "model_index.json").write_text(index)
    (checkpoints / "pipe").mkdir()
    os.mkfifo(checkpoints / "pipe" / "model_index.json")
    with caplog.at_level(logging.WARNING):
        found = read_catalogue(extras=Extras(roots=[str(tmp_path)]))
    assert list(found.loras) == ["good"]
    assert f"and {len(ODD_HEADERS) + 2 - 5} more" in caplog.text
    for name in ODD_HEADERS:
        with pytest.raises(ModelUnavailable, match="cannot be read as a"):
            read_shapes(folder / f"{name}.safetensors")


@pytest.mark.parametrize("index", ["[]", "null", "5", '{"_class_name": [1]}', "[" * 99_999, "{}", " " * 1_000_001])
def test_an_odd_index_is_refused_in_a_line(tmp_path, index):
    """By the loader, and where a folder is told from others."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model_index.json").write_text(index)
    assert not format_of_folder(str(tmp_path / "mine")).edits
    with pytest.raises(ModelUnavailable, match=r"^mine "):
        format_of("mine", str(tmp_path / "mine"))


def test_files_folders_hub_ids_and_variables_name_more(tmp_path, monkeypatch):
    """What is named twice is offered once; two files of one name are told apart; a library's own file name gives way to
    its folder's."""
    fill(tmp_path, {"a/style.safetensors": LORA, "b/style.safetensors": LORA, "b/x.safetensors": LORA})
    fill(tmp_path, {"subject/pytorch_lora_weights.safetensors": LORA, "e/learned_embeds.safetensors": EMBEDDING})
    monkeypatch.setenv("T2V_LORAS", f"{tmp_path}/subject, latent-consistency/lcm-lora-sdv1-5")
    monkeypatch.setenv("T2V_EMBEDDINGS", str(tmp_path / "e"))
    monkeypatch.chdir(tmp_path)
    found = read_catalogue(extras=Extras(loras=["a/style.safetensors", "b", str(tmp_path / "b" / "x.safetensors")]))
    assert list(found.loras) == ["style", "style (2)", "x", "subject", "lcm-lora-sdv1-5"]
    assert found.loras["lcm-lora-sdv1-5"] == "latent-consistency/lcm-lora-sdv1-5"
    assert list(found.embeddings) == ["e"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.safetensors", "no such file or folder"),
        ("/missing/file.safetensors", "no such file or folder"),
        ("old.pt", "old.pt is not a .safetensors file; pickled files can run code"),
        ("vae.safetensors", "vae.safetensors is not a LoRA"),
        ("nested.safetensors", "nested.safetensors cannot be read"),
        ("wrong.safetensors", "wrong.safetensors cannot be read"),
        ("endless.safetensors", "endless.safetensors cannot be read"),
        ("empty", "there is no LoRA"),
    ],
)
def test_what_the_operator_names_must_be_there_and_be_whole(tmp_path, monkeypatch, name, message):
    """One line at the start, before anybody waits for a job; headers of strangers do not stretch memory."""
    monkeypatch.chdir(tmp_path)
    fill(tmp_path, {"vae.safetensors": VAE})
    Path("old.pt").write_bytes(b"\x80\x04.")
    Path("empty").mkdir()
    deep = b"[" * 100_000
    Path("nested.safetensors").write_bytes(len(deep).to_bytes(8, "little") + deep)
    wrong = json.dumps({"x": {"shape": "yes", "data_offsets": [0]}}).encode()
    Path("wrong.safetensors").write_bytes(len(wrong).to_bytes(8, "little") + wrong)
    Path("endless.safetensors").write_bytes((2**63).to_bytes(8, "little") + b"{}")
    with pytest.raises(ModelUnavailable, match=message) as told:
        read_catalogue(extras=Extras(loras=[name]))
    assert "\n" not in str(told.value)


def test_a_root_without_known_folders_is_a_mistake(tmp_path):
    """Somebody mistyped it, and would look in vain for their models."""
    with pytest.raises(ModelUnavailable, match="has none of the folders"):
        read_catalogue(extras=Extras(roots=[str(tmp_path)]))


def test_a_client_chooses_by_name_and_gets_nothing_else(tmp_path):
    """Settings become sources; another name is refused with those that there are, or with none."""
    fill(tmp_path, A1111)
    found = read_catalogue(extras=Extras(roots=[str(tmp_path)]))
    asked = TextToVideoSettings(
        prompt="a fox", negative_prompt="easynegative!", lora="style", lora_scale=0.5, vae="soft"
    )
    row = found.with_adapters(builtin_models.TOYWORLD, asked)
    assert (row.lora.name, row.lora.scale, row.vae) == ("style", 0.5, str(tmp_path / "models/VAE/soft.safetensors"))
    assert list(row.embeddings) == ["EasyNegative"]
    assert (
        found.with_adapters(builtin_models.TOYWORLD, TextToVideoSettings(prompt="an easynegatively fox"))
        == builtin_models.TOYWORLD
    )
    for name in ("zz", "../style", "/etc/passwd", str(tmp_path / "models/Lora/style.safetensors"), "a/b"):
        with pytest.raises(ModelUnavailable, match=r"^lora: must be empty or one of style, subject$"):
            found.with_adapters(row, TextToVideoSettings(prompt="x", lora=name))
    with pytest.raises(ModelUnavailable, match=r"^vae: must be empty: none is offered$"):
        read_catalogue().with_adapters(row, TextToVideoSettings(prompt="x", vae="soft"))


def test_many_names_do_not_make_a_long_message(tmp_path):
    """Of hundreds the first few are told."""
    fill(tmp_path, {f"{number:03}.safetensors": LORA for number in range(40)})
    with pytest.raises(ModelUnavailable, match=r"011 and 28 more$"):
        read_catalogue(extras=Extras(loras=[str(tmp_path)])).with_adapters(
            builtin_models.TOYWORLD, TextToVideoSettings(prompt="x", lora="zz")
        )


@pytest.mark.parametrize(
    ("source", "is_one"),
    [
        ("user/repository", True),
        ("user/repo.v1-5_x", True),
        ("user/repository/file.safetensors", True),
        ("user/repository/folder/file.safetensors", True),
        ("user/repository/file.pt", False),
        ("loras/style.safetensors", False),
        ("style", False),
        ("../style", False),
        ("/user/repository", False),
        ("./user/repository", False),
        ("https://host/file.safetensors", False),
    ],
)
def test_a_hub_id_is_told_from_a_path(source, is_one):
    """A path with a mistake in it must not be asked for on the internet."""
    assert is_hub_id(source) == is_one


def test_of_a_repository_the_one_file_is_taken(tmp_path, monkeypatch):
    """What has been fetched before is found offline; where several could be meant, the operator is told how to say."""
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda _, name, **__: str(tmp_path / name))
    fill(tmp_path, {"style.safetensors": LORA})
    assert hub.fetched("a/b", "usual.safetensors") == tmp_path / "style.safetensors"
    assert hub.fetched("a/b/other.safetensors", "usual.safetensors") == tmp_path / "other.safetensors"
    fill(tmp_path, {"more.safetensors": LORA})
    with pytest.raises(ModelUnavailable, match=r"a/b holds 2 .safetensors files: name one, as a/b/name.safetensors"):
        hub.fetched("a/b", "usual.safetensors")
    fill(tmp_path, {"usual.safetensors": LORA})
    assert hub.fetched("a/b", "usual.safetensors") == tmp_path / "usual.safetensors"


def test_names_are_what_people_call_their_files():
    """Case and dots stay."""
    assert name_of("/x/Detail.Tweaker-v1.0.safetensors") == "Detail.Tweaker-v1.0"
    assert name_of("/x/soft/diffusion_pytorch_model.safetensors") == "soft"


def test_trigger_words_are_added_once():
    """Also where the user has written them in another case; never inside a longer word."""
    assert with_trigger("a fox", "arcane style") == "arcane style, a fox"
    assert with_trigger("a fox, Arcane Style", "arcane style") == "a fox, Arcane Style"
    assert with_trigger("a fox", "") == "a fox"
    assert with_trigger("21girls", "1girl") == "1girl, 21girls"


def test_learned_words_become_placeholders():
    """Each as many as it has vectors, the longest name first, and what is not known stays a word."""
    tokens = {"<cat:0>": 1, "<cat-toy:0>": 2, "<cat-toy:1>": 3, "<a+b:0>": 4}
    text = "A Cat-Toy, a cat, cats, (a+b:1.2) and easynegative"
    told = with_placeholders(text, ["cat", "cat-toy", "EasyNegative", "a+b"], tokens)
    assert told == "A <cat-toy:0> <cat-toy:1>, a <cat:0>, cats, (<a+b:0>:1.2) and easynegative"
    assert with_placeholders(text, [], tokens) == text
    assert not mentions("catalogue", "cat")
