"""Catalogue of models: built-in rows, and the operator's checkpoints, LoRAs, VAEs, embeddings, ControlNets and styles.

A client chooses by name. Names are file names without folders, so that no client learns a path.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from annotators.controls import SD1_CONTROLNETS, kind_of_file
from errors import ModelUnavailable
from model_manager import builtin_models
from model_manager.builtin_models import Lora, ModelRow
from model_manager.discovery import (
    CHECKPOINTS,
    CONTROLNETS,
    EMBEDDINGS,
    LORAS,
    VAES,
    Kind,
    name_of,
    numbered,
    root_folder,
    sources_in_root,
    sources_of,
)
from model_manager.prompt_notation import tagged_loras
from model_manager.safetensors_header import read_shapes
from model_manager.styles import VARIABLE as STYLES_VARIABLE
from model_manager.styles import Style, read_styles, styles_in_root
from model_manager.textual_inversion import mentions
from settings import GenerationSettings
from settings.user_files import named_in

ROOTS_VARIABLE = "T2V_MODELS_ROOT"
TEXT_WIDTH = 768  # of Stable Diffusion 1.x
SHOWN_NAMES = 12
TEXTS = ("prompt", "negative_prompt", "storyboard")  # settings that a text encoder reads


@dataclass(frozen=True)
class Extras:
    """Sources that the operator names besides models: LoRAs, VAEs and embeddings (files, folders or Hub ids),
    ``roots``, the folders that another program keeps its models in, and files of ``styles``."""

    loras: Sequence[str] = ()
    vaes: Sequence[str] = ()
    embeddings: Sequence[str] = ()
    roots: Sequence[str] = ()
    styles: Sequence[str] = ()


@dataclass(frozen=True)
class Catalogue:
    """Everything a client may choose from; each maps a name to where it comes from, ``styles`` to the style itself."""

    models: Mapping[str, ModelRow]
    loras: Mapping[str, str] = field(default_factory=dict)
    vaes: Mapping[str, str] = field(default_factory=dict)
    embeddings: Mapping[str, str] = field(default_factory=dict)
    styles: Mapping[str, Style] = field(default_factory=read_styles)

    def offered(self, setting: str) -> Mapping[str, str]:
        """Return the sources by name for the setting ``model``, ``lora`` or ``vae``; a ``style`` is its own."""
        rows = {name: row.source for name, row in self.models.items()}
        styles = {name: name for name in self.styles}
        return {"model": rows, "lora": self.loras, "vae": self.vaes, "style": styles}[setting]

    def with_adapters(self, row: ModelRow, settings: GenerationSettings) -> ModelRow:
        """Return the row with the LoRA, VAE and style of the settings, and the embeddings that the prompts mention.

        Raises ModelUnavailable for a name that is not offered.
        """
        text = "\n".join(getattr(settings, name, "") for name in TEXTS)
        if settings.style is not None:
            style = self.styles[self._chosen("style", settings.style)]
            row, text = replace(row, style=style), f"{text}\n{style.prompt}\n{style.negative_prompt}"
        if settings.lora is not None:
            row = replace(row, lora=Lora(settings.lora, self._chosen("lora", settings.lora), settings.lora_scale))
        tags = {name: scale for name, scale in tagged_loras(text).items() if name in self.loras}
        if settings.lora in tags:  # the tag says how strongly
            row = replace(row, lora=None)
        row = replace(row, tagged_loras=tuple(Lora(name, self.loras[name], scale) for name, scale in tags.items()))
        if settings.vae is not None:
            row = replace(row, vae=self._chosen("vae", settings.vae))
        return replace(
            row, embeddings={name: source for name, source in self.embeddings.items() if mentions(text, name)}
        )

    def _chosen(self, setting: str, name: str) -> str:
        offered = self.offered(setting)
        if name not in offered:
            more = f" and {len(offered) - SHOWN_NAMES} more" if len(offered) > SHOWN_NAMES else ""
            names = ", ".join(list(offered)[:SHOWN_NAMES]) + more
            raise ModelUnavailable(
                f"{setting}: must be empty" + (f" or one of {names}" if offered else ": none is offered")
            )
        return offered[name]


def read_catalogue(models: Sequence[str] = (), extras: Extras | None = None) -> Catalogue:
    """Read all there is to offer: built in, named here or in environment variables, in the folders of other programs.

    Raises ModelUnavailable for what is named and is not there, not whole or a pickle; in folders such files are left
    out with a line in the log.
    """
    extras = extras or Extras()
    roots = [root_folder(root) for root in _listed(extras.roots, ROOTS_VARIABLE)]
    checkpoints = [source for root in roots for source in sources_in_root(CHECKPOINTS, root)]
    rows = _with_local_controlnets(builtin_models.models([*models, *checkpoints]), roots)
    offered = {kind.noun: _named(kind, given, roots) for kind, given in (
        (LORAS, extras.loras), (VAES, extras.vaes), (EMBEDDINGS, extras.embeddings)
    )}  # fmt: skip
    found = [path for root in roots for path in styles_in_root(root)]
    styles = read_styles([*found, *_listed(extras.styles, STYLES_VARIABLE)])
    return Catalogue(rows, offered[LORAS.noun], offered[VAES.noun], offered[EMBEDDINGS.noun], styles)


def _listed(given: Sequence[str], variable: str) -> list[str]:
    """The given sources, and those of the environment variable, which separates them by commas."""
    return [part.strip() for part in [*given, *named_in(variable)] if part.strip()]


def _named(kind: Kind, given: Sequence[str], roots: Iterable[Path]) -> dict[str, str]:
    """Sources by name, those that the operator named one by one first."""
    sources = [source for named in _listed(given, kind.variable) for source in sources_of(kind, named)]
    sources += [source for root in roots for source in sources_in_root(kind, root)]
    offered: dict[str, str] = {}
    for source in dict.fromkeys(sources):
        offered[numbered(name_of(source), offered)] = source
    return offered


def _with_local_controlnets(rows: dict[str, ModelRow], roots: Iterable[Path]) -> dict[str, ModelRow]:
    """The rows, where those for Stable Diffusion 1.x take ControlNets from files at hand instead of the Hub."""
    local: dict[str, str] = {}
    for root in roots:
        for source in sorted(sources_in_root(CONTROLNETS, root), key=lambda source: ("v11" not in source, source)):
            control = kind_of_file(name_of(source))
            if control is not None and _is_of_sd1(Path(source)):
                local.setdefault(control, source)
    return {
        name: replace(row, controlnets={**row.controlnets, **local}) if row.controlnets is SD1_CONTROLNETS else row
        for name, row in rows.items()
    }


def _is_of_sd1(controlnet: Path) -> bool:
    """True where a ControlNet reads text of the width that Stable Diffusion 1.x has."""
    widths = {shape[-1] for name, shape in read_shapes(controlnet).items() if name.endswith("attn2.to_k.weight")}
    return widths == {TEXT_WIDTH}
