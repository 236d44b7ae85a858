"""Which pictures the published processors were asked about, under which settings; and pixels told in a few numbers."""

import zlib

import numpy as np

SIDE = {"height": 56, "width": 56}
SETTINGS = {
    "clip": {"size": {"shortest_edge": 42}, "crop_size": {"height": 42, "width": 42}},
    "llava_square": {"size": {"shortest_edge": 42}, "crop_size": {"height": 42, "width": 42}, "do_pad": True},
    "siglip": {"size": SIDE},
    "dinov2": {"size": {"shortest_edge": 64}, "crop_size": SIDE},
    "llava_next": {
        "size": {"shortest_edge": 28},
        "crop_size": {"height": 28, "width": 28},
        "image_grid_pinpoints": [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]],
    },
    "qwen2_vl": {"size": {"shortest_edge": 28 * 28 * 4, "longest_edge": 28 * 28 * 40}},
    "gemma3": {
        "size": SIDE,
        "do_pan_and_scan": True,
        "pan_and_scan_min_crop_size": 32,
        "pan_and_scan_max_num_crops": 4,
        "pan_and_scan_min_ratio_to_activate": 1.2,
    },
    "internvl": {"size": SIDE, "crop_to_patches": True, "min_patches": 1, "max_patches": 6},
    "mllama": {"size": SIDE, "max_image_tiles": 4},
    "idefics": {"image_size": 56},
}


def sizes(kind: str, n: int = 24) -> list[tuple[int, int]]:
    """Random heights and widths, thin and tiny ones among them."""
    g = np.random.default_rng(zlib.crc32(kind.encode()))
    around = np.exp(g.uniform(np.log(8), np.log(260), (n, 2))).astype(int)
    return [(int(h), int(w)) for h, w in around] + [
        (64, 64),
        (40, 200),
        (200, 40),
        (33, 34),
        (1, 1),
        (1, 40),
        (40, 1),
        (2, 399),
        (399, 2),
    ]


def picture(h: int, w: int) -> np.ndarray:
    """uint8 (h, w, 3): noise over a slope, the same everywhere."""
    g = np.random.default_rng(h * 1000 + w)
    slope = np.linspace(0, 120, h)[:, None, None] + np.linspace(0, 80, w)[None, :, None]
    return (slope + g.integers(0, 56, (h, w, 3))).astype(np.uint8)


def told(x: np.ndarray) -> np.ndarray:
    """Pixels (n, H, W, 3) in 16 numbers: means under fixed random weights, which any change of place or value moves."""
    weights = np.random.default_rng(7).normal(size=(16, x.size)) / np.sqrt(x.size)
    return weights @ x.reshape(-1).astype(np.float64)
