"""The adapter to CLIPSeg through transformers: image and text vectors of the CLIP inside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Float

from voxlang.core.artifacts import read_json
from voxlang.core.device import device_of
from voxlang.core.digest import digest_file, digest_json
from voxlang.core.errors import ArtifactError, ModelMissingError
from voxlang.embed.offline import offline
from voxlang.embed.preprocess import Preprocess
from voxlang.embed.settings import CLIPSEG_DIRECTORY, EmbedConfig
from voxlang.embed.two_towers import TwoTowerEncoder
from voxlang.embed.types import EncoderId
from voxlang.embed.weights import find_directory, micro_hint

if TYPE_CHECKING:
    import torch

REPOSITORY = "CIDAS/clipseg-rd64-refined"
"""The official model on the hub."""

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}


class ClipSegEncoder(TwoTowerEncoder):
    """The CLIP of a CLIPSeg model in evaluation mode, at its own picture size."""

    def _image_features(self, pixels: Float[torch.Tensor, "n 3 h w"]) -> Float[torch.Tensor, "n d"]:
        return self._model.get_image_features(pixels, interpolate_pos_encoding=False).pooler_output

    def _text_features(self, texts: list[str]) -> Float[torch.Tensor, "n d"]:
        longest = self._model.config.text_config.max_position_embeddings
        tokens = self._tokenizer(
            texts, return_tensors="pt", padding="max_length", truncation=True, max_length=longest
        ).to(self._device)
        return self._model.get_text_features(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).pooler_output


def load_clipseg(config: EmbedConfig) -> ClipSegEncoder:
    """Load CLIPSeg from a folder: `config.model`, or checkpoints/clipseg-rd64-refined for "micro"; never downloads.

    Raises:
        ModelMissingError: the folder or one of its files is not there.
        ArtifactError: it holds another kind of model, or weights that do not fit.
    """
    from transformers import AutoTokenizer, CLIPSegForImageSegmentation, CLIPSegModel

    device = str(device_of(config.device, where="embed.device"))
    folder = _folder(config)
    settings = read_json(folder / "config.json")
    weights = folder / next(n for n in _WEIGHTS if (folder / n).is_file())
    if settings.get("model_type") != "clipseg":
        raise ArtifactError(
            "a CLIPSeg model (model_type clipseg)",
            got=f"model_type {settings.get('model_type')!r}",
            where=str(folder),
            do="pass the folder of a CLIPSeg model, or --embed.family open_clip",
        )
    bare = "CLIPSegModel" in (settings.get("architectures") or [])
    try:
        with offline():
            loaded, report = (CLIPSegModel if bare else CLIPSegForImageSegmentation).from_pretrained(
                folder, local_files_only=True, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise ArtifactError(
            "a whole CLIPSeg model", got=" ".join(str(error).split())[:300], where=str(folder), do="fetch it again"
        ) from error
    if report["missing_keys"]:
        raise ArtifactError(
            "weights for the whole model",
            got=f"{len(report['missing_keys'])} missing, such as {sorted(report['missing_keys'])[0]}",
            where=str(weights),
            do="fetch the folder again",
        )
    model = loaded if bare else loaded.clip
    preprocess = _preprocess_of(folder, model.config.vision_config.image_size)
    vocabulary = {p.name: digest_file(p) for p in sorted(folder.iterdir()) if p.name in _TOKENIZER_FILES}
    identity = EncoderId(
        "clipseg",
        f"clipseg-{digest_json({k: settings.get(k) for k in ('text_config', 'vision_config')})[:8]}",
        digest_file(weights),
        preprocess.digest({"files": vocabulary}),
        int(model.config.projection_dim),
    )
    return ClipSegEncoder(
        model, tokenizer, identity=identity, preprocess=preprocess, device=device, batch_size=config.batch_size
    )


_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json")


def _folder(config: EmbedConfig) -> Path:
    """The model's folder, checked to hold configuration, weights and a vocabulary."""
    if config.model == "micro":
        folder = find_directory(config, CLIPSEG_DIRECTORY) or config.checkpoints / CLIPSEG_DIRECTORY
    else:
        folder = Path(config.model.removeprefix("local-dir:"))
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    if not any((folder / n).is_file() for n in _WEIGHTS):
        missing.append(" or ".join(_WEIGHTS))
    if not any((folder / n).is_file() for n in ("tokenizer.json", "vocab.json")):
        missing.append("tokenizer.json or vocab.json")
    if missing:
        hint = micro_hint(config).replace("--embed.model micro", "--embed.family open_clip --embed.model micro")
        raise ModelMissingError(
            "a CLIPSeg model directory",
            got=f"no {', no '.join(missing)}; nothing is ever downloaded here",
            where=str(folder),
            do=f"download all files of https://huggingface.co/{REPOSITORY} on a machine with internet and put them at "
            f"{config.checkpoints / CLIPSEG_DIRECTORY}{hint}",
        )
    return folder


def _preprocess_of(folder: Path, image_size: int) -> Preprocess:
    """Colours and resampling from the folder's own preprocessor file (CLIPSeg's are ImageNet's), size from CLIP."""
    path = folder / "preprocessor_config.json"
    own: dict[str, Any] = read_json(path) if path.is_file() else {}
    mean = tuple(float(v) for v in own.get("image_mean", (0.485, 0.456, 0.406)))
    std = tuple(float(v) for v in own.get("image_std", (0.229, 0.224, 0.225)))
    return Preprocess(int(image_size), mean, std, _RESAMPLING.get(own.get("resample", 2), "bilinear"))
