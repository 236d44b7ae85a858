"""Towers of published models: configurations as transformers spells them, and the names of their arrays."""

from collections.abc import Mapping
from typing import Any

from ...configs.block import BlockConfig
from ...configs.vision import TowerConfig
from ...errors import MlxworldError
from ..names import Join, Ones, Patches, Table, Value

Config = Mapping[str, Any]
ACTS = {"gelu_pytorch_tanh": "gelu_tanh"}

_CLIP = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_CLIP |= {"image_size": 224, "patch_size": 32, "layer_norm_eps": 1e-5, "hidden_act": "quick_gelu"}
_SIGLIP = _CLIP | {"patch_size": 16, "layer_norm_eps": 1e-6, "hidden_act": "gelu_pytorch_tanh"}


def _one(size: Any) -> int:
    """The side of what may be given as a side or as a pair of them."""
    return size[0] if isinstance(size, list | tuple) else size


def vit(v: Config, **changes: Any) -> TowerConfig:
    """A tower as transformers' configurations name its fields."""
    block = {"norm": "layer", "qkv_bias": True, "bias": True, "qk_norm": "none", "gated": False}
    block |= {"eps": v["layer_norm_eps"], "act": ACTS.get(v["hidden_act"], v["hidden_act"])} | changes.pop("block", {})
    return TowerConfig(
        BlockConfig(v["hidden_size"], v["num_attention_heads"], hidden=v["intermediate_size"], **block),
        depth=v["num_hidden_layers"],
        patch=_one(v["patch_size"]),
        size=_one(v["image_size"]),
        **changes,
    )


def clip(v: Config, tap: int | None = None, keep: str = "patches", post_norm: bool = False) -> TowerConfig:
    """tap: which of the hidden states comes out, counted from the end as published (-1 the last), None the last."""
    v = {**_CLIP, **v}
    taps = () if tap is None else (_depth(tap, v["num_hidden_layers"]),)
    return vit(v, taps=taps, keep=keep, patch_bias=False, pre_norm=True, post_norm=post_norm)


def _depth(state: int, depth: int) -> int:
    """How many blocks are behind hidden state number `state`: 0 is before the first, -1 after the last."""
    return state if state > 0 else depth + 1 + state


def siglip(v: Config) -> TowerConfig:
    return vit(_SIGLIP | dict(v), class_token=False, post_norm=True, keep="all")


def dinov2(v: Config, resize: str = "bicubic") -> TowerConfig:
    """resize: which of the published answers at other sizes, see positions.py; transformers' unless said."""
    if v.get("use_swiglu_ffn"):
        raise MlxworldError("DINOv2 with a gated feed-forward layer (giant) is not read")
    v = {"intermediate_size": int(v["hidden_size"] * v["mlp_ratio"]), **v}
    return vit(v, keep="all", post_norm=True, resize=resize, block={"gate": "scale", "qkv_bias": v["qkv_bias"]})


def intern_vit(v: Config) -> TowerConfig:
    rms = v.get("norm_type", "layer_norm") == "rms_norm"
    block = {
        "norm": "rms" if rms else "layer",
        "gate": "scale",
        "qkv_bias": v.get("qkv_bias", v.get("attention_bias", False)),
        "qk_norm": "whole" if v.get("qk_normalization", v.get("use_qk_norm", False)) else "none",
    }
    return vit({"layer_norm_eps": 1e-6, "hidden_act": "gelu", **v}, block=block, resize="bicubic")


def linear(theirs: str, ours: str, bias: bool = True) -> dict[str, Value]:
    return {f"{theirs}.{part}": f"{ours}.{part}" for part in ("weight", "bias")[: 1 + bias]}


def joined(parts: list[str], ours: str, shares: tuple[int, ...], bias: bool = True) -> dict[str, Value]:
    return {
        f"{theirs}.{name}": Join(f"{ours}.{name}", i, shares)
        for name in ("weight", "bias")[: 1 + bias]
        for i, theirs in enumerate(parts)
    }


def block_names(theirs: str, ours: str, qkv: list[str], out: str, norms: list[str], mlp: list[str]) -> dict[str, Value]:
    """A block's names; qkv: three that are joined, or one."""
    qkv = [f"{theirs}.{name}" for name in qkv]
    names = linear(qkv[0], f"{ours}.attn.qkv") if len(qkv) == 1 else joined(qkv, f"{ours}.attn.qkv", (1, 1, 1))
    places = {out: "attn.out", norms[0]: "norm1", norms[1]: "norm2", mlp[0]: "mlp.up", mlp[1]: "mlp.down"}
    for name, place in places.items():
        names |= linear(f"{theirs}.{name}", f"{ours}.{place}")
    return names


QKV = ["q_proj", "k_proj", "v_proj"]
FC = ["mlp.fc1", "mlp.fc2"]


def unused(layer: Table, built: int, depth: int) -> dict[str, Value]:
    """The names of blocks that no tap needs."""
    return {name.replace("{}", str(i), 1): None for i in range(built, depth) for name in layer}


def clip_names(tower: TowerConfig, theirs: str, ours: str) -> dict[str, Value]:
    """CLIP's and SigLIP's names."""
    qkv, built = [f"self_attn.{name}" for name in QKV], max(tower.taps, default=tower.depth)
    layer = block_names(
        f"{theirs}.encoder.layers.{{}}",
        f"{ours}.blocks.{{}}",
        qkv,
        "self_attn.out_proj",
        ["layer_norm1", "layer_norm2"],
        FC,
    )
    names: dict[str, Value] = {
        f"{theirs}.embeddings.patch_embedding.weight": Patches(f"{ours}.embed.weight"),
        f"{theirs}.embeddings.patch_embedding.bias": f"{ours}.embed.bias",
        f"{theirs}.embeddings.class_embedding": f"{ours}.class_token",
        f"{theirs}.embeddings.position_embedding.weight": f"{ours}.positions",
        f"{theirs}.embeddings.position_ids": None,
        **linear(f"{theirs}.pre_layrnorm", f"{ours}.pre_norm"),
        **unused(layer, built, tower.depth),
        **layer,
    }
    post = linear(f"{theirs}.post_layernorm", f"{ours}.post_norm")
    return names | (post if tower.post_norm else dict.fromkeys(post))


def dinov2_names(ours: str, theirs: str = "") -> dict[str, Value]:
    qkv = [f"attention.attention.{name}" for name in ("query", "key", "value")]
    layer = f"{theirs}encoder.layer.{{}}"
    return {
        **embeddings(f"{theirs}embeddings", ours),
        f"{theirs}embeddings.mask_token": None,
        **block_names(layer, f"{ours}.blocks.{{}}", qkv, "attention.output.dense", ["norm1", "norm2"], FC),
        f"{layer}.layer_scale1.lambda1": f"{ours}.blocks.{{}}.gate1",
        f"{layer}.layer_scale2.lambda1": f"{ours}.blocks.{{}}.gate2",
        **linear(f"{theirs}layernorm", f"{ours}.post_norm"),
    }


def embeddings(theirs: str, ours: str) -> dict[str, Value]:
    return {
        f"{theirs}.cls_token": Ones(f"{ours}.class_token", 2),
        f"{theirs}.position_embeddings": Ones(f"{ours}.positions", 1),
        f"{theirs}.patch_embeddings.projection.weight": Patches(f"{ours}.embed.weight"),
        f"{theirs}.patch_embeddings.projection.bias": f"{ours}.embed.bias",
    }


def intern_names(theirs: str, ours: str, kind: str) -> dict[str, Value]:
    """InternViT's layers: as the authors name them, or as transformers does."""
    if kind == "internvl":
        qkv, out = [f"attention.{name}" for name in QKV], "attention.projection_layer"
        attention, gate = "attention", "lambda_"
        norms = ["layernorm_before", "layernorm_after"]
    else:
        qkv, out, norms, attention, gate = ["attn.qkv"], "attn.proj", ["norm1", "norm2"], "attn", "ls"
    names = block_names(theirs, ours, qkv, out, norms, FC)
    for i, part in enumerate(("q_norm", "k_norm")):
        names[f"{theirs}.{attention}.{part}.weight"] = Join(f"{ours}.attn.qk_gain", i, (1, 1))
    return names | {f"{theirs}.{gate}{i}": f"{ours}.gate{i}" for i in (1, 2)}
