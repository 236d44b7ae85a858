"""open_clip's layout of a picture and a text encoder side by side (BiomedCLIP): a ViT as timm names it, and BERT.

`open_clip_config.json` names both by their hub; what it does not say are the defaults of those.
"""

from collections.abc import Mapping
from typing import Any

from ...configs.block import BlockConfig
from ...configs.vision import DualEncoderConfig, TextEncoderConfig
from ..names import Ones, Patches, Value
from ..reading import shown
from .towers import FC, block_names, linear, vit

MODEL_TYPE = "open_clip"  # as ours calls what its own file does not name
FILE = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
_VIT = {"embed_dim": 768, "depth": 12, "num_heads": 12, "mlp_ratio": 4, "patch_size": 16}  # vit_base_patch16_224
_BERT = {"vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
_BERT |= {"intermediate_size": 3072, "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12}


def config(published: Mapping[str, Any]) -> DualEncoderConfig:
    """Of open_clip_config.json; `sizes` in vision_cfg and in text_cfg override the defaults of timm and of BERT."""
    c = published["model_cfg"]
    for part, name, known in (("vision_cfg", "timm_proj", "linear"), ("text_cfg", "hf_proj_type", "mlp")):
        if c[part].get(name) != known:
            raise ValueError(f"{name} is {shown(c[part].get(name))}: {known} alone is read")
    if c["text_cfg"].get("hf_pooler_type") != "cls_last_hidden_state_pooler":
        raise ValueError("hf_pooler_type: cls_last_hidden_state_pooler alone is read")
    v = _VIT | c["vision_cfg"].get("sizes", {})
    t = _BERT | c["text_cfg"].get("sizes", {})
    names = {"hidden_size": v["embed_dim"], "intermediate_size": v["embed_dim"] * v["mlp_ratio"]}
    names |= {"num_hidden_layers": v["depth"], "num_attention_heads": v["num_heads"], "patch_size": v["patch_size"]}
    names |= {"image_size": c["vision_cfg"].get("image_size", 224), "layer_norm_eps": 1e-6, "hidden_act": "gelu"}
    block = {"norm": "layer", "order": "post", "qkv_bias": True, "bias": True, "qk_norm": "none"}
    block |= {"gated": False, "act": "gelu", "eps": t["layer_norm_eps"], "hidden": t["intermediate_size"]}
    text = TextEncoderConfig(
        BlockConfig(t["hidden_size"], t["num_attention_heads"], **block),
        depth=t["num_hidden_layers"],
        vocab=t["vocab_size"],
        positions=t["max_position_embeddings"],
        types=t["type_vocab_size"],
        embed_norm=True,
        padding=0,
    )
    tower = vit(names, keep="first", post_norm=True, resize="antialias")
    return DualEncoderConfig(tower, text, c["embed_dim"], hidden=(t["hidden_size"] + c["embed_dim"]) // 2)


def table(published: Mapping[str, Any]) -> dict[str, Value]:
    """Names of the arrays, theirs to those of `DualEncoder`."""
    bert, layer = "text.transformer", "text.transformer.encoder.layer.{}"
    qkv = [f"attention.self.{name}" for name in ("query", "key", "value")]
    norms, mlp = ["attention.output.LayerNorm", "output.LayerNorm"], ["intermediate.dense", "output.dense"]
    return {
        "logit_scale": "log_scale",
        "visual.trunk.cls_token": Ones("tower.class_token", 2),
        "visual.trunk.pos_embed": Ones("tower.positions", 1),
        "visual.trunk.patch_embed.proj.weight": Patches("tower.embed.weight"),
        "visual.trunk.patch_embed.proj.bias": "tower.embed.bias",
        **block_names("visual.trunk.blocks.{}", "tower.blocks.{}", ["attn.qkv"], "attn.proj", ["norm1", "norm2"], FC),
        **linear("visual.trunk.norm", "tower.post_norm"),
        "visual.head.proj.weight": "picture_out.weight",
        f"{bert}.embeddings.word_embeddings.weight": "text.words.weight",
        f"{bert}.embeddings.position_embeddings.weight": "text.positions",
        f"{bert}.embeddings.token_type_embeddings.weight": "text.types",
        f"{bert}.embeddings.position_ids": None,
        **linear(f"{bert}.embeddings.LayerNorm", "text.embed_norm"),
        **block_names(layer, "text.blocks.{}", qkv, "attention.output.dense", norms, mlp),
        "text.proj.0.weight": "text_up.weight",
        "text.proj.2.weight": "text_out.weight",
    }
