"""Data in several modalities by the names that flags give it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ...configs.translator import TranslatorConfig
from ...errors import MlxworldError
from ..episodes.folder import listing
from .batches import Pairs
from .captions import Captions, beside
from .films import Films, opened
from .noise import Noise
from .plain import Texts
from .scenes import ToldScenes


def open_pairs(
    cfg: TranslatorConfig,
    data: str,
    image_dir: Path | None = None,
    annotation_file: Path | None = None,
    fps: float | None = None,
    cache: Path | None = None,
    pictures: Path | None = None,
) -> tuple[Pairs, dict[str, Any]]:
    """The data, and the rates that it gives a model's configuration: {"fps", "sample_rate"} of films, else nothing.

    data: scenes, coco (with image_dir and annotation_file), synthetic, a folder of films, which are decoded at `fps` a
    second, or one of pictures, each with a .txt beside it. cache: where decoded films are kept, and pictures too unless
    `pictures` names another folder. Raises MlxworldError for data that is not there or cannot be used.
    """
    if data != "coco" and (image_dir or annotation_file):
        raise MlxworldError("--image-dir and --annotation-file are of --data coco")
    if data == "scenes":
        return ToldScenes(cfg), {}
    if data == "synthetic":
        return Noise(cfg), {}
    if data == "coco":
        return _coco(cfg, image_dir, annotation_file, pictures or cache), {}
    folder = Path(data)
    if not folder.is_dir():
        raise MlxworldError(f"no data at {data}: give scenes, coco, synthetic, or a folder of films or of pictures")
    if _has_pictures(folder):
        return Captions(cfg, folder, None, pictures or cache or folder / ".cache"), {}
    store = opened(cfg, folder, fps, cache)
    rates = {"fps": float(store.info.fps), "sample_rate": store.info.sample_rate}
    return Films(replace(cfg, **rates), store, folder), rates  # pyright: ignore[reportArgumentType]


def open_told(
    cfg: TranslatorConfig, data: str, image_dir: Path | None, annotation_file: Path | None, pictures: Path
) -> Captions | Texts:
    """What texts are about, for a model that writes nothing but words: coco, a folder of pictures with a .txt beside
    each, or of .txt files alone. pictures: where decoded ones are kept. Raises MlxworldError as `open_pairs` does."""
    if data == "coco":
        return _coco(cfg, image_dir, annotation_file, pictures)
    if image_dir or annotation_file:
        raise MlxworldError("--image-dir and --annotation-file are of --data coco")
    folder = Path(data)
    if not folder.is_dir():
        raise MlxworldError(f"no data at {data}: give coco, or a folder of pictures with .txt beside, or of .txt")
    return Captions(cfg, folder, None, pictures) if _has_pictures(folder) else Texts(cfg, folder)


def _coco(cfg: TranslatorConfig, image_dir: Path | None, annotations: Path | None, pictures: Path | None) -> Captions:
    if image_dir is None or annotations is None:
        raise MlxworldError("--data coco needs --image-dir and --annotation-file")
    return Captions(cfg, image_dir, annotations, pictures or image_dir / ".cache")


def _has_pictures(folder: Path) -> bool:
    """Whether a folder is one of pictures with words beside, not of films."""
    return not listing(folder).films and any(beside(folder).values())
