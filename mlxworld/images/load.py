"""The image processor that a published model's configuration asks for."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..configs.vision import VisionConfig
from ..errors import MlxworldError
from ..files.layouts import vision
from ..files.reading import read_json, shown
from . import pixels
from .anyres import AnyRes
from .canvas import Canvas
from .crops import Crops
from .dynamic_tiles import DynamicTiles
from .grids import Grids
from .pages import Pages
from .pan_and_scan import PanAndScan
from .prepared import LONGEST, Look, Processor, between, side
from .whole import Whole

Settings = Mapping[str, Any]
MOST, TILES = 1 << 27, 256  # pixels of a picture as it is seen, tiles of one
_FILES = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")


def load(folder: str | os.PathLike) -> Processor:
    """Of a model's folder: config.json, and what preprocessor_config.json or its newer forms say beside.

    Raises MlxworldError for a model that is not known, and for settings that cannot be.
    """
    folder, settings = Path(folder), {}
    for name in _FILES:
        if (folder / name).exists():
            content = read_json(folder / name)
            if not isinstance(content, dict):
                raise MlxworldError(f"{folder / name} holds no settings, but {shown(content)}")
            if name.startswith("video"):
                settings["video"] = content
            else:
                settings |= content.get("image_processor", content) | {"video": content.get("video_processor", {})}
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise MlxworldError(f"{folder / 'config.json'} holds no settings, but {shown(config)}")
    return of(config, settings, source=str(folder))


def of(config: Settings, settings: Settings, source: str = "the model") -> Processor:
    """Of a model's published configuration and its preprocessor's settings."""
    kind = config.get("model_type")
    if kind in _PAIRS:  # whose picture encoder is a model of its own
        config = {**(config.get("vision_config") or {}), "model_type": (kind := _PAIRS[kind])}
    if kind not in _KINDS:
        raise MlxworldError(f"{source}: model_type {shown(kind)} has no image processor here")
    for name in ("do_resize", "do_rescale", "do_normalize"):
        if settings.get(name) is False:
            raise MlxworldError(f"{source}: an image processor without {name} is not read")
    if abs((settings.get("rescale_factor") or 1 / 255) - 1 / 255) > 1e-6:
        raise MlxworldError(f"{source}: rescale_factor {shown(settings['rescale_factor'])} is not read, 1/255 alone")
    try:
        see = vision.config(config)
        processor = _KINDS[kind](settings, config, see)
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise MlxworldError(f"{source}: the image processor's settings cannot be read: {shown(str(error))}") from error
    given = getattr(processor, "side", see.tower.size)
    if see.tower.resize == "none" and given != see.tower.size:
        raise MlxworldError(f"{source}: the image processor gives {given} pixels, the tower sees {see.tower.size}")
    return processor


def biomedclip(size: int = 224) -> Whole:
    """What open_clip does with pictures: the middle as torchvision has it."""
    return Whole(size, edge=size, rounded=True)


def _square(settings: Settings, default: int) -> tuple[int, int]:
    """(side, edge): the square that is cut out, and what the shorter side becomes before; edge 0: stretched."""
    size, crop = settings.get("size", default), settings.get("crop_size", default)
    if settings.get("do_center_crop", "crop_size" in settings):
        return side(crop, "crop_size"), side(size)
    return side(size), 0


def _whole(settings: Settings, config: Settings, see: VisionConfig) -> Whole:
    size, edge = _square({"size": see.tower.size, "crop_size": see.tower.size, **settings}, see.tower.size)
    tokens = see.tower.grid**2 + (see.tower.class_token and see.tower.keep == "all")
    pad = bool(settings.get("do_pad", False)) and "Llava" in settings.get("image_processor_type", "")
    return Whole(size, (tokens,), look=Look.of(settings), edge=edge, square=pad)


def _half(settings: Settings, config: Settings, see: VisionConfig) -> Whole:
    """SigLIP: stretched, and normalised to -1 .. 1."""
    size, edge = _square(settings, see.tower.size)
    return Whole(size, (see.tower.grid**2,), look=Look.of(settings, mean=pixels.HALF, std=pixels.HALF), edge=edge)


def _dinov2(settings: Settings, config: Settings, see: VisionConfig) -> Whole:
    size, edge = _square({"size": 256, "crop_size": 224, **settings}, 224)
    look = Look.of(settings, mean=pixels.IMAGENET_MEAN, std=pixels.IMAGENET_STD)
    return Whole(size, ((size // see.tower.patch) ** 2 + 1,), look=look, edge=edge)


def _idefics(settings: Settings, config: Settings, see: VisionConfig) -> Whole:
    size = side(settings.get("image_size", settings.get("size", see.tower.size)))
    around = "<fake_token_around_image>"
    return Whole(size, (around, 1, around), look=Look.of(settings))


def _anyres(settings: Settings, config: Settings, see: VisionConfig) -> AnyRes:
    size, _ = _square(settings, see.tower.size)
    pages = settings.get("image_grid_pinpoints") or config["image_grid_pinpoints"]
    pages = tuple((int(h), int(w)) for h, w in pages)
    if not pages or any(n < size or n % size or n > LONGEST for page in pages for n in page):
        raise ValueError(f"image_grid_pinpoints are no multiples of {size}")
    return AnyRes(size, size // see.tower.patch, pages, look=Look.of(settings))


def _grids(settings: Settings, config: Settings, see: VisionConfig) -> Grids:
    projector = see.projector
    assert projector is not None

    def limits(said: Settings, least: int, most: int) -> tuple[int, int]:
        size = said.get("size") or {}
        least = said.get("min_pixels") or size.get("shortest_edge") or size.get("min_pixels") or least
        most = said.get("max_pixels") or size.get("longest_edge") or size.get("max_pixels") or most
        return between(1, least, MOST, "min_pixels"), between(least, most, MOST, "max_pixels")

    return Grids(
        *limits(settings, Grids.least, Grids.most),
        *limits(settings.get("video") or {}, Grids.least_of_film, Grids.most_of_film),
        patch=see.tower.patch,
        merge=projector.side,
        frames=see.tower.frames,
        look=Look.of(settings),
    )


def _pan_and_scan(settings: Settings, config: Settings, see: VisionConfig) -> PanAndScan:
    look = Look.of(settings, how="bilinear", mean=pixels.HALF, std=pixels.HALF)
    on = bool(settings.get("do_pan_and_scan"))
    return PanAndScan(
        side(settings.get("size", see.tower.size)),
        int(config.get("mm_tokens_per_image", 256)),
        most=between(1, settings.get("pan_and_scan_max_num_crops") or 4, TILES, "number of crops") if on else 0,
        smallest=between(1, settings.get("pan_and_scan_min_crop_size") or 256, LONGEST, "size of a crop"),
        ratio=float(settings.get("pan_and_scan_min_ratio_to_activate") or 1.2),
        look=look,
    )


def _pages(settings: Settings, config: Settings, see: VisionConfig) -> Pages:
    look = Look.of({**settings, "resample": 2})
    return Pages(
        between(1, settings.get("num_crops", 4), TILES, "num_crops"), see.tower.size, see.tower.grid // 2, look=look
    )


def _crops(settings: Settings, config: Settings, see: VisionConfig) -> Crops:
    before, after = settings.get("overlap_margins", (4, 4))
    size = side(list(settings.get("base_image_input_size", (see.tower.size,) * 2)))
    look = Look.of({**settings, "resample": 2})
    return Crops(
        between(1, settings.get("max_crops", 12), TILES, "max_crops"),
        (int(before), int(after)),
        size,
        see.tower.patch,
        look=look,
    )


def _tiles(settings: Settings, config: Settings, see: VisionConfig) -> DynamicTiles:
    projector, nvlm = see.projector, config["model_type"] == "NVLM_D"
    assert projector is not None
    size = side(settings.get("size", config.get("force_image_size", see.tower.size)))
    most = settings.get("max_patches", config.get("max_dynamic_patch", 6 if nvlm else 12))
    most = between(1, most, TILES, "number of tiles")
    return DynamicTiles(
        size,
        (size // see.tower.patch // projector.side) ** 2,
        between(1, settings.get("min_patches", config.get("min_dynamic_patch", 1)), most, "least number of tiles"),
        most,
        tags=nvlm,
        placeholder="<IMG_CONTEXT>" if config["model_type"] == "internvl" else "<image>",
        around=("<Image>", "</Image>") if nvlm else ("<img>", "</img>"),
        look=Look.of(settings, mean=pixels.IMAGENET_MEAN, std=pixels.IMAGENET_STD),
    )


def _canvas(settings: Settings, config: Settings, see: VisionConfig) -> Canvas:
    look = Look.of(settings, how="bilinear", mean=pixels.CLIP_MEAN, std=pixels.CLIP_STD)
    tiles = between(see.tower.tiles, settings.get("max_image_tiles", 4), see.tower.tiles, "max_image_tiles")
    return Canvas(side(settings.get("size", see.tower.size)), tiles, look=look)


_PAIRS = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}
_KINDS: dict[Any, Callable[[Settings, Settings, VisionConfig], Processor]] = {
    "llava": _whole,
    "clip_vision_model": _whole,
    "siglip_vision_model": _half,
    "dinov2": _dinov2,
    "idefics": _idefics,
    "llava_next": _anyres,
    "qwen2_vl": _grids,
    "gemma3": _pan_and_scan,
    "phi3_v": _pages,
    "molmo": _crops,
    "internvl": _tiles,
    "internvl_chat": _tiles,
    "NVLM_D": _tiles,
    "mllama": _canvas,
}
