"""Configurations as published, which leave out what the code of their time knew: sizes, and tokens of 480 x 640."""

import numpy as np
import pytest

from mlxworld.files.layouts import vision
from mlxworld.images import of
from mlxworld.models.vision_language.positions import resampling

CLIP_L = {"hidden_size": 1024, "image_size": 336, "intermediate_size": 4096, "model_type": "clip_vision_model"}
CLIP_L |= {"num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768}
SO400M = {"hidden_size": 1152, "image_size": 896, "intermediate_size": 4304, "model_type": "siglip_vision_model"}
SO400M |= {"num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False}
QWEN = {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "in_chans": 3, "hidden_size": 1536}
QWEN |= {"patch_size": 14, "spatial_merge_size": 2, "spatial_patch_size": 14, "temporal_patch_size": 2}
INTERN_6B = {"hidden_size": 3200, "intermediate_size": 12800, "num_hidden_layers": 45, "num_attention_heads": 25}
INTERN_6B |= {"image_size": 448, "patch_size": 14, "norm_type": "rms_norm", "qk_normalization": True, "qkv_bias": False}
LLAMA_32 = {"attention_heads": 16, "hidden_size": 1280, "image_size": 560, "intermediate_size": 5120, "patch_size": 14}
LLAMA_32 |= {"intermediate_layers_indices": [3, 7, 15, 23, 30], "num_hidden_layers": 32, "num_global_layers": 8}
IDEFICS = {"embed_dim": 1280, "image_size": 224, "intermediate_size": 5120, "num_attention_heads": 16, "patch_size": 14}
IDEFICS |= {"num_hidden_layers": 32, "hidden_act": "gelu", "layer_norm_eps": 1e-5}
PERCEIVER = {"qk_layer_norms_perceiver": True, "resampler_depth": 6, "resampler_head_dim": 96, "resampler_n_heads": 16}
CROP = {"crop_size": 336, "do_center_crop": True, "size": 336}

PUBLISHED = {  # configuration, preprocessor, (width, heads, blocks, size), width that the decoder reads, tokens
    "llava 1.5": (
        {"model_type": "llava", "text_config": {"model_type": "llama"}, "vision_config": CLIP_L},
        CROP,
        (1024, 16, 23, 336),
        4096,
        576,
    ),
    "llava 1.6": (
        {
            "model_type": "llava_next",
            "text_config": {"model_type": "mistral"},
            "vision_config": CLIP_L,
            "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
        },
        CROP,
        (1024, 16, 23, 336),
        4096,
        2340,
    ),
    "gemma 3": (
        {"model_type": "gemma3", "text_config": {"hidden_size": 2560}, "vision_config": SO400M},
        {"size": {"height": 896, "width": 896}, "do_pan_and_scan": None},
        (1152, 16, 27, 896),
        2560,
        256,
    ),
    "qwen2-vl": (
        {"model_type": "qwen2_vl", "hidden_size": 1536, "vision_config": QWEN},
        {"min_pixels": 3136, "max_pixels": 12845056},
        (1280, 16, 32, 0),
        1536,
        391,
    ),
    "nvlm-d": (
        {
            "model_type": "NVLM_D",
            "force_image_size": 448,
            "llm_config": {"hidden_size": 8192, "intermediate_size": 29568},
            "vision_config": INTERN_6B,
        },
        {},
        (3200, 25, 45, 448),
        8192,
        7 * 256,
    ),
    "phi-3-vision": ({"model_type": "phi3_v", "hidden_size": 3072}, {"num_crops": 16}, (1024, 16, 23, 336), 3072, 1921),
    "molmo": (
        {"model_type": "molmo", "hidden_size": 3584, "intermediate_size": 37888},
        {"max_crops": 12, "overlap_margins": [4, 4]},
        (1024, 16, 22, 336),
        3584,
        704,
    ),
    "llama 3.2": (
        {"model_type": "mllama", "text_config": {"hidden_size": 4096}, "vision_config": LLAMA_32},
        {"size": {"height": 560, "width": 560}, "max_image_tiles": 4},
        (1280, 16, 31, 560),  # the last tap; all 32 are built
        4096,
        1,
    ),
    "idefics": (
        {"model_type": "idefics", "use_resampler": True, "vision_config": IDEFICS}
        | {"perceiver_config": PERCEIVER | {"resampler_n_latents": 64}},
        {"image_size": 224},
        (1280, 16, 32, 224),
        None,
        1,
    ),
    "dinov2": (
        {"model_type": "dinov2", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "mlp_ratio": 4}
        | {"image_size": 518, "patch_size": 14, "layer_norm_eps": 1e-6, "hidden_act": "gelu", "qkv_bias": True},
        {"crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "size": {"shortest_edge": 256}},
        (768, 12, 12, 518),
        None,
        257,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_and_tokens(name):
    config, settings, sizes, width, tokens = PUBLISHED[name]
    see = vision.config(config)
    tower = see.tower
    assert (tower.block.dim, tower.block.heads, max(tower.taps, default=tower.depth), tower.size) == sizes
    assert (see.projector and see.projector.out) == width
    prepared = of(config, settings)([np.zeros((480, 640, 3), np.uint8)])
    assert prepared.tokens == [tokens]
    assert vision.table(config)


def test_positions_of_dinov2_at_the_size_it_is_shown():
    """37 x 37 are learned, 16 x 16 shown: rows of a matrix that add up to one."""
    matrix = np.array(resampling(37, 16, "bicubic"))
    assert matrix.shape == (16, 37) and np.abs(matrix.sum(1) - 1).max() < 1e-12
