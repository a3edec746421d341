"""Tiny random networks in the real formats: everything a pipeline needs, in milliseconds on a CPU."""

from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from training.toyworld.text import build_tokenizer

SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tiny matrices are faster on one thread, and sums then have one order."""
    torch.set_num_threads(1)


def text_config(tokenizer, **options):
    """A text encoder of two layers for the tokenizer."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **options,
    )


@pytest.fixture(scope="session")
def components():
    """The parts of a Stable Diffusion pipeline with random weights: 8x autoencoder, 16x16 latents."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(["a red circle on green grass", "a blue star at night"], vocabulary=560)
    text_encoder = CLIPTextModel(text_config(tokenizer)).eval()
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=16,
        norm_num_groups=4,
    ).eval()
    autoencoder = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 4, 4),
        norm_num_groups=2,
        sample_size=128,
    ).eval()
    return {
        "vae": autoencoder,
        "text_encoder": text_encoder,
        "tokenizer": tokenizer,
        "unet": unet,
        "scheduler": DDIMScheduler(**SCHEDULER),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


@pytest.fixture(scope="session")
def xl_components(components):
    """The parts of a Stable Diffusion XL pipeline with random weights: two text encoders, 16x16 latents, a UNet that is
    told the pooled text and six sizes."""
    torch.manual_seed(0)
    tokenizer = components["tokenizer"]
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        transformer_layers_per_block=(1, 2),
        attention_head_dim=(2, 4),
        cross_attention_dim=32,
        norm_num_groups=4,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 24,
    ).eval()
    return {
        "vae": AutoencoderKL.from_config(components["vae"].config, scaling_factor=0.13025, force_upcast=True).eval(),
        "text_encoder": CLIPTextModel(text_config(tokenizer)).eval(),
        "text_encoder_2": CLIPTextModelWithProjection(text_config(tokenizer, projection_dim=24)).eval(),
        "tokenizer": tokenizer,
        "tokenizer_2": tokenizer,
        "unet": unet,
        "scheduler": DDIMScheduler(**SCHEDULER),
    }


@pytest.fixture
def xl_pipeline(xl_components):
    """A TextToVideoXLPipeline of the tiny parts."""
    from pipelines.text_to_video_xl import TextToVideoXLPipeline

    return quiet(TextToVideoXLPipeline(**xl_components))


@pytest.fixture(autouse=True)
def own_data_folder(monkeypatch, tmp_path_factory):
    """No test touches the clips of whoever runs it."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data-home")))


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    """The same arithmetic on every machine: some processors would choose bfloat16."""
    monkeypatch.setattr("model_manager.loader.choose_dtype", lambda device: torch.float32)


@pytest.fixture
def video_pipeline(components):
    """A TextToVideoPipeline of the tiny parts."""
    from pipelines.text_to_video import TextToVideoPipeline

    return quiet(TextToVideoPipeline(**components))


@pytest.fixture
def control_components(components):
    """The tiny parts with a ControlNet whose every layer says something (a new one's output layers are zero)."""
    from diffusers import ControlNetModel

    controlnet = ControlNetModel.from_unet(components["unet"], conditioning_embedding_out_channels=(4, 4, 4, 4))
    generator = torch.Generator().manual_seed(3)
    for parameter in controlnet.parameters():
        if not parameter.abs().sum():
            parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return {**components, "controlnet": controlnet.eval()}


@pytest.fixture
def control_pipeline(control_components):
    """A ControlledVideoPipeline of the tiny parts."""
    from pipelines.controlnet import ControlledVideoPipeline

    return quiet(ControlledVideoPipeline(**control_components))


@pytest.fixture
def edit_components(components):
    """The tiny parts with a UNet that takes a picture beside the latents."""
    torch.manual_seed(5)
    unet = type(components["unet"]).from_config(components["unet"].config, in_channels=8)
    return {**components, "unet": unet.eval()}


@pytest.fixture
def edit_pipeline(edit_components):
    """An EditedVideoPipeline of the tiny parts."""
    from pipelines.pix2pix import EditedVideoPipeline

    return quiet(EditedVideoPipeline(**edit_components))


@pytest.fixture
def still_pipeline(components):
    """The still-image pipeline of the same parts."""
    return quiet(StableDiffusionPipeline(**components))


def quiet(pipeline):
    """A pipeline that shows no progress bar."""
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="session")
def image_unet():
    """A tiny 2D UNet whose attention heads all have four channels, and no layer of which is silent."""
    torch.manual_seed(1)
    return UNet2DConditionModel(
        sample_size=4,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=(2, 4),
        cross_attention_dim=16,
        norm_num_groups=4,
    ).eval()


@pytest.fixture(scope="session")
def tiny_folders(components, tmp_path_factory):
    """A checkpoint, a ControlNet that fits it, one that does not, and an editing UNet."""
    from diffusers import ControlNetModel

    from pipelines.text_to_video import TextToVideoPipeline

    root = tmp_path_factory.mktemp("models")
    TextToVideoPipeline(**components).save_pretrained(root / "tiny")
    config, options = components["unet"].config, {"conditioning_embedding_out_channels": (4, 4, 4, 4)}
    ControlNetModel.from_unet(components["unet"], **options).save_pretrained(root / "control")
    wider = UNet2DConditionModel.from_config(config, cross_attention_dim=24)
    ControlNetModel.from_unet(wider, **options).save_pretrained(root / "wide")
    UNet2DConditionModel.from_config(config, in_channels=8).save_pretrained(root / "edit")
    return root


@pytest.fixture
def steered_model(tiny_folders):
    """A Model with two rows of tiny networks: "tiny" draws and follows videos, "tiny-edit" edits."""
    from model import Model
    from model_manager.builtin_models import ModelRow

    root = tiny_folders
    nets = {"canny": str(root / "control"), "pose": str(root / "wide"), "depth": str(root / "none")}
    tiny = ModelRow("tiny", "Tiny", str(root / "tiny"), "", motion_window=(500, 700), controlnets=nets)
    editor = replace(tiny, name="tiny-edit", unet=str(root / "edit"), controlnets={}, edits=True)
    model = Model(device="cpu")
    model.rows = {"tiny": tiny, "tiny-edit": editor}
    return model


@pytest.fixture(scope="session")
def rows(tmp_path_factory, components):
    """Specifications of diffusers' own video pipelines with tiny random weights, by name."""
    from tests.foreign import write_rows

    return write_rows(tmp_path_factory.mktemp("pipelines"), components)


@pytest.fixture
def database(tmp_path):
    """An index in a folder of its own."""
    from library.database import Database

    opened = Database(tmp_path / "library.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def clips(tmp_path, database):
    """No clips yet."""
    from library.clips import ClipIndex

    (tmp_path / "clips").mkdir()
    return ClipIndex(tmp_path / "clips", database)


@pytest.fixture
def jobs(tmp_path, database):
    """No jobs yet."""
    from library.job_list import JobList

    (tmp_path / "jobs").mkdir()
    return JobList(database, tmp_path / "jobs")
