"""CLIP and SigLIP whole: a picture and a text encoder as transformers names them."""

from collections.abc import Mapping
from typing import Any

from ...configs.block import BlockConfig
from ...configs.vision import DualEncoderConfig, TextEncoderConfig
from ..names import Ones, Value
from . import towers
from .towers import FC, QKV, block_names, clip_names, linear

Config = Mapping[str, Any]
_TEXT = {"vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12}
_TEXT |= {"num_attention_heads": 8, "max_position_embeddings": 77, "layer_norm_eps": 1e-5, "hidden_act": "quick_gelu"}
_SIGLIP = _TEXT | {"vocab_size": 32000, "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
_SIGLIP |= {"max_position_embeddings": 64, "layer_norm_eps": 1e-6, "hidden_act": "gelu_pytorch_tanh"}


def config(published: Config) -> DualEncoderConfig:
    """Our configuration of a published one, of model_type clip or siglip."""
    is_clip = published["model_type"] == "clip"
    text = _text(published.get("text_config") or {}, is_clip)
    seen = published.get("vision_config") or {}
    if is_clip:
        tower = towers.clip(seen, keep="first", post_norm=True)
        return DualEncoderConfig(tower, text, published.get("projection_dim", 512))
    tower = towers.siglip(seen)
    return DualEncoderConfig(tower, text, tower.block.dim, attends=True, text_bias=True, sigmoid=True)


def _text(said: Config, is_clip: bool) -> TextEncoderConfig:
    t: dict[str, Any] = {**(_TEXT if is_clip else _SIGLIP), **said}
    block = {"norm": "layer", "qkv_bias": True, "bias": True, "qk_norm": "none", "gated": False}
    block |= {"eps": t["layer_norm_eps"], "act": towers.ACTS.get(t["hidden_act"], t["hidden_act"])}
    end = t.get("eos_token_id", 2)  # which the first configurations say wrong: the last id of the vocabulary is meant
    return TextEncoderConfig(
        BlockConfig(t["hidden_size"], t["num_attention_heads"], hidden=t["intermediate_size"], **block),
        depth=t["num_hidden_layers"],
        vocab=t["vocab_size"],
        positions=t["max_position_embeddings"],
        final_norm=True,
        causal=is_clip,
        pool="end" if is_clip else "last",
        end=t["vocab_size"] - 1 if end == 2 else end,
    )


def table(published: Config) -> dict[str, Value]:
    """Names of all arrays, the published ones to ours."""
    cfg, is_clip = config(published), published["model_type"] == "clip"
    text, layer, qkv = "text_model", "text_model.encoder.layers.{}", [f"self_attn.{name}" for name in QKV]
    names: dict[str, Value] = {
        **clip_names(cfg.tower, "vision_model", "tower"),
        f"{text}.embeddings.token_embedding.weight": "text.words.weight",
        f"{text}.embeddings.position_embedding.weight": "text.positions",
        f"{text}.embeddings.position_ids": None,
        **block_names(layer, "text.blocks.{}", qkv, "self_attn.out_proj", ["layer_norm1", "layer_norm2"], FC),
        **linear(f"{text}.final_layer_norm", "text.final_norm"),
    }
    if is_clip:
        out = {"visual_projection.weight": "picture_out.weight", "text_projection.weight": "text_out.weight"}
        return names | out | {"logit_scale": "log_scale"}
    head = "vision_model.head"
    return {
        **names,
        f"{head}.probe": Ones("picture_head.query", 2),
        f"{head}.attention.in_proj_weight": "picture_head.qkv.weight",
        f"{head}.attention.in_proj_bias": "picture_head.qkv.bias",
        **linear(f"{head}.attention.out_proj", "picture_head.out"),
        **linear(f"{head}.layernorm", "picture_head.norm"),
        **linear(f"{head}.mlp.fc1", "picture_head.mlp.up"),
        **linear(f"{head}.mlp.fc2", "picture_head.mlp.down"),
        **linear(f"{text}.head", "text_out"),
        "logit_scale": Ones("log_scale", 1),
        "logit_bias": Ones("shift", 1),
    }
