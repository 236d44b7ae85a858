"""Data in several modalities by the names that flags give it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ...configs.translator import TranslatorConfig
from ...errors import MlxworldError
from .batches import Pairs
from .captions import Captions
from .films import Films, opened
from .noise import Noise
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

    data: scenes, coco (with image_dir and annotation_file), synthetic, or a folder of films, which are decoded at `fps`
    a second. cache: where decoded films are kept, and pictures too unless `pictures` names another folder. Raises
    MlxworldError for data that is not there or cannot be used.
    """
    if data != "coco" and (image_dir or annotation_file):
        raise MlxworldError("--image-dir and --annotation-file are of --data coco")
    if data == "scenes":
        return ToldScenes(cfg), {}
    if data == "synthetic":
        return Noise(cfg), {}
    if data == "coco":
        if image_dir is None or annotation_file is None:
            raise MlxworldError("--data coco needs --image-dir and --annotation-file")
        return Captions(cfg, image_dir, annotation_file, pictures or cache or image_dir / ".cache"), {}
    folder = Path(data)
    if not folder.is_dir():
        raise MlxworldError(f"no data at {data}: give scenes, coco, synthetic, or a folder of films")
    store = opened(cfg, folder, fps, cache)
    rates = {"fps": float(store.info.fps), "sample_rate": store.info.sample_rate}
    return Films(replace(cfg, **rates), store, folder), rates  # pyright: ignore[reportArgumentType]
