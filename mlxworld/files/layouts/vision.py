"""Vision parts of published models: what their configurations say, and the names of their arrays.

`config` and `table` go by the model's `model_type`. Names on the left are the published ones; a file that has them
under another prefix is renamed first. Ours begin with the place that the part has in the model, "vision" unless said.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ...configs.block import BlockConfig
from ...configs.vision import ProjectorConfig, ResamplerConfig, VisionConfig
from ...errors import MlxworldError
from ..names import Join, Ones, Patches, Transpose, Value
from ..reading import shown
from . import towers
from .towers import (
    FC,
    QKV,
    block_names,
    clip,
    clip_names,
    embeddings,
    intern_names,
    intern_vit,
    joined,
    linear,
    siglip,
    unused,
    vit,
)

Config = Mapping[str, Any]


def config(published: Config) -> VisionConfig:
    """How a published model sees. Raises MlxworldError for a model type that is not known, or that sees nothing."""
    return _reader(published)[0](published)


def table(published: Config, ours: str = "vision") -> dict[str, Value]:
    """The names of the vision part's arrays, theirs to ours; "" for a tower that is a model of its own."""
    return _reader(published)[1](published, ours)


def _reader(published: Config):
    kind = published.get("model_type")
    if kind not in _KINDS:
        raise MlxworldError(f"model_type {shown(kind)} has no vision part here: known are {', '.join(sorted(_KINDS))}")
    return _KINDS[kind]


def _text_width(c: Config) -> int:
    text = c.get("text_config") or c.get("llm_config") or c
    return text.get("hidden_size", 4096)  # LLaVA's first configurations leave out Llama's default


def _llava(c: Config) -> VisionConfig:
    keep = {"default": "patches", "full": "all"}[c.get("vision_feature_select_strategy", "default")]
    tower = clip(c["vision_config"], c.get("vision_feature_layer", -2), keep)
    out, act = _text_width(c), c.get("projector_hidden_act", "gelu")
    projector = ProjectorConfig(tower.width, out, hidden=out, act=act, bias=c.get("multimodal_projector_bias", True))
    return VisionConfig(tower, projector, pack="anyres" if c["model_type"] == "llava_next" else "plain")


def _llava_names(c: Config, ours: str) -> dict[str, Value]:
    return {
        **clip_names(_llava(c).tower, "vision_tower.vision_model", f"{ours}.tower"),
        **linear("multi_modal_projector.linear_1", f"{ours}.projector.up"),
        **linear("multi_modal_projector.linear_2", f"{ours}.projector.down"),
        "image_newline": f"{ours}.newline",
    }


def _gemma3(c: Config) -> VisionConfig:
    tower = siglip(c["vision_config"])
    side = tower.grid // round(c.get("mm_tokens_per_image", 256) ** 0.5)
    out = c["text_config"].get("hidden_size", 2304)
    norm = {"norm": "after", "norm_kind": "rms_plus_one", "eps": tower.block.eps}
    return VisionConfig(tower, ProjectorConfig(tower.width, out, side=side, reduce="mean", bias=False, **norm))


def _gemma3_names(c: Config, ours: str) -> dict[str, Value]:
    return {
        **clip_names(_gemma3(c).tower, "vision_tower.vision_model", f"{ours}.tower"),
        "multi_modal_projector.mm_input_projection_weight": Transpose(f"{ours}.projector.down.weight"),
        "multi_modal_projector.mm_soft_emb_norm.weight": f"{ours}.projector.norm.weight",
    }


def _qwen2_vl(c: Config) -> VisionConfig:
    v = {"depth": 32, "embed_dim": 1280, "num_heads": 16, "mlp_ratio": 4, "patch_size": 14, "spatial_merge_size": 2}
    v |= {"temporal_patch_size": 2, "hidden_act": "quick_gelu"} | dict(c["vision_config"])
    names = {"hidden_size": v["embed_dim"], "intermediate_size": int(v["embed_dim"] * v["mlp_ratio"])}
    names |= {"num_hidden_layers": v["depth"], "num_attention_heads": v["num_heads"], "image_size": 0}
    names |= {"layer_norm_eps": 1e-6}
    changes = {"frames": v["temporal_patch_size"], "class_token": False, "patch_bias": False, "keep": "all"}
    tower, side, C = vit(v | names, **changes), v["spatial_merge_size"], v["embed_dim"]
    merger = ProjectorConfig(C, _text_width(c), hidden=C * side**2, side=side, reduce="merge", norm="before", eps=1e-6)
    return VisionConfig(tower, merger, pack="grids")


def _qwen2_vl_names(c: Config, ours: str) -> dict[str, Value]:
    frames = _qwen2_vl(c).tower.frames
    return {
        "visual.patch_embed.proj.weight": Patches(f"{ours}.tower.embed.weight", frames),
        **block_names(
            "visual.blocks.{}", f"{ours}.tower.blocks.{{}}", ["attn.qkv"], "attn.proj", ["norm1", "norm2"], FC
        ),
        **linear("visual.merger.ln_q", f"{ours}.projector.norm"),
        **linear("visual.merger.mlp.0", f"{ours}.projector.up"),
        **linear("visual.merger.mlp.2", f"{ours}.projector.down"),
    }


def _internvl(c: Config) -> VisionConfig:
    tower, side = intern_vit(c["vision_config"]), round(1 / c.get("downsample_ratio", 0.5))
    llm = c.get("llm_config") or c["text_config"]
    nvlm = c["model_type"] == "NVLM_D"  # through the language model's intermediate size, without biases
    projector = ProjectorConfig(
        tower.width,
        llm["hidden_size"],
        hidden=llm["intermediate_size"] if nvlm else llm["hidden_size"],
        side=side,
        reduce="merge",
        norm="after",
        bias=not nvlm,
        transposed=c.get("ps_version", "v2" if c["model_type"] == "internvl" else "v1") == "v1",
    )
    return VisionConfig(tower, projector)


def _internvl_names(c: Config, ours: str) -> dict[str, Value]:
    tower = f"{ours}.tower"
    if c["model_type"] == "internvl":
        layers, mlp = "vision_tower.encoder.layer.{}", "multi_modal_projector"
        names = embeddings("vision_tower.embeddings", tower)
        parts = {"layer_norm": "norm", "linear_1": "up", "linear_2": "down"}
    else:
        layers, mlp, theirs = "vision_model.encoder.layers.{}", "mlp1", "vision_model.embeddings"
        names = {
            f"{theirs}.class_embedding": Ones(f"{tower}.class_token", 2),
            f"{theirs}.position_embedding": Ones(f"{tower}.positions", 1),
            f"{theirs}.patch_embedding.weight": Patches(f"{tower}.embed.weight"),
            f"{theirs}.patch_embedding.bias": f"{tower}.embed.bias",
        }
        parts = {"0": "norm", "1": "up", "3": "down"}
    names |= intern_names(layers, f"{tower}.blocks.{{}}", c["model_type"])
    for part, place in parts.items():
        names |= linear(f"{mlp}.{part}", f"{ours}.projector.{place}")
    return names


_PHI3_CLIP = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
_PHI3_CLIP |= {"image_size": 336, "patch_size": 14}  # the published configuration only says "clip_vision_model"


def _phi3_v(c: Config) -> VisionConfig:
    tower = clip(_PHI3_CLIP | dict(c.get("vision_config") or {}), tap=-2)
    out = c["hidden_size"]
    return VisionConfig(tower, ProjectorConfig(tower.width, out, hidden=out, side=2, reduce="merge"), pack="pages")


def _phi3_v_names(c: Config, ours: str) -> dict[str, Value]:
    theirs = "model.vision_embed_tokens"
    return {
        **clip_names(_phi3_v(c).tower, f"{theirs}.img_processor.vision_model", f"{ours}.tower"),
        **linear(f"{theirs}.img_projection.0", f"{ours}.projector.up"),
        **linear(f"{theirs}.img_projection.2", f"{ours}.projector.down"),
        f"{theirs}.sub_GN": Ones(f"{ours}.newline", 3),
        f"{theirs}.glb_GN": Ones(f"{ours}.separator", 2),
    }


_MOLMO = {"image_default_input_size": [336, 336], "image_patch_size": 14, "image_emb_dim": 1024, "image_num_heads": 16}
_MOLMO |= {"image_num_key_value_heads": 16, "image_num_layers": 23, "image_head_dim": 64, "image_mlp_dim": 4096}
_MOLMO |= {"image_norm_eps": 1e-5, "vit_layers": [-2, -9]}  # in the published code, not in its configuration


def _molmo(c: Config) -> VisionConfig:
    v = _MOLMO | dict(c.get("vision_config") or {})
    depth = v["image_num_layers"]
    names = {"hidden_size": v["image_emb_dim"], "intermediate_size": v["image_mlp_dim"], "num_hidden_layers": depth}
    names |= {"num_attention_heads": v["image_num_heads"], "image_size": v["image_default_input_size"]}
    names |= {"patch_size": v["image_patch_size"], "layer_norm_eps": v["image_norm_eps"], "hidden_act": "quick_gelu"}
    taps = tuple(depth + 1 + layer for layer in v["vit_layers"])
    tower = vit(names, taps=taps, patch_bias=False, pre_norm=True, block={"head_dim": v["image_head_dim"]})
    projector = ProjectorConfig(
        tower.width,
        c["hidden_size"],
        hidden=c["intermediate_size"] // 2,
        side=2,
        reduce="attention",
        act="silu",
        gated=True,
        bias=False,
        heads=v["image_num_heads"],
        kv_heads=v["image_num_key_value_heads"],
        head_dim=v["image_head_dim"],
        pooled=v["image_emb_dim"],
        padding_embed=True,
    )
    return VisionConfig(tower, projector, pack="order")


def _molmo_names(c: Config, ours: str) -> dict[str, Value]:
    cfg, tower, projector = _molmo(c), f"{ours}.tower", f"{ours}.projector"
    theirs = "model.vision_backbone"
    qkv, mlp = [f"attention.{name}" for name in ("wq", "wk", "wv")], ["feed_forward.w1", "feed_forward.w2"]
    layer = block_names(
        f"{theirs}.image_vit.transformer.resblocks.{{}}",
        f"{tower}.blocks.{{}}",
        qkv,
        "attention.wo",
        ["attention_norm", "ffn_norm"],
        mlp,
    )
    pool = f"{theirs}.image_pooling_2d"
    return {
        f"{theirs}.image_vit.class_embedding": f"{tower}.class_token",
        f"{theirs}.image_vit.positional_embedding": f"{tower}.positions",
        f"{theirs}.image_vit.patch_embedding.weight": f"{tower}.embed.weight",
        **linear(f"{theirs}.image_vit.pre_ln", f"{tower}.pre_norm"),
        **unused(layer, max(cfg.tower.taps), cfg.tower.depth),
        **layer,
        **linear(f"{pool}.wq", f"{projector}.pool.q"),
        **joined([f"{pool}.wk", f"{pool}.wv"], f"{projector}.pool.kv", (1, 1)),
        **linear(f"{pool}.wo", f"{projector}.pool.out"),
        **joined([f"{theirs}.image_projector.{w}" for w in ("w1", "w3")], f"{projector}.up", (1, 1), bias=False),
        f"{theirs}.image_projector.w2.weight": f"{projector}.down.weight",
        f"{theirs}.pad_embed": f"{projector}.padding",
    }


def _mllama(c: Config) -> VisionConfig:
    v = {"num_global_layers": 8, "max_num_tiles": 4, "norm_eps": 1e-5, "hidden_act": "gelu", **c["vision_config"]}
    names = {"num_attention_heads": v["attention_heads"], "layer_norm_eps": v["norm_eps"]}
    tower = vit(
        v | names,
        block={"qkv_bias": False, "out_bias": False},
        patch_bias=False,
        taps=tuple(i + 1 for i in v["intermediate_layers_indices"]),
        keep="all",
        tiles=v["max_num_tiles"],
        global_depth=v["num_global_layers"],
    )
    return VisionConfig(tower, ProjectorConfig(tower.width, _text_width(c)), pack="tiles")


def _mllama_names(c: Config, ours: str) -> dict[str, Value]:
    tower, theirs = f"{ours}.tower", "vision_model"
    parts = (
        [f"self_attn.{name}" for name in QKV],
        "self_attn.o_proj",
        ["input_layernorm", "post_attention_layernorm"],
        FC,
    )
    names: dict[str, Value] = {
        f"{theirs}.patch_embedding.weight": Patches(f"{tower}.base.embed.weight"),
        f"{theirs}.class_embedding": f"{tower}.base.class_token",
        f"{theirs}.gated_positional_embedding.embedding": f"{tower}.base.positions",
        f"{theirs}.gated_positional_embedding.gate": f"{tower}.places.gate",
        f"{theirs}.gated_positional_embedding.tile_embedding.weight": f"{tower}.places.table.weight",
        **linear(f"{theirs}.layernorm_pre", f"{tower}.pre_norm"),
        **linear(f"{theirs}.layernorm_post", f"{tower}.post_norm"),
        **block_names(f"{theirs}.transformer.layers.{{}}", f"{tower}.base.blocks.{{}}", *parts),
        **block_names(f"{theirs}.global_transformer.layers.{{}}", f"{tower}.global_blocks.{{}}", *parts),
        f"{theirs}.global_transformer.layers.{{}}.gate_attn": f"{tower}.global_blocks.{{}}.gate1",
        f"{theirs}.global_transformer.layers.{{}}.gate_ffn": f"{tower}.global_blocks.{{}}.gate2",
        **linear("multi_modal_projector", f"{ours}.projector.down"),
    }
    for place, name in (("pre", "before"), ("post", "after")):
        names[f"{theirs}.{place}_tile_positional_embedding.embedding.weight"] = f"{tower}.{name}.table.weight"
        names[f"{theirs}.{place}_tile_positional_embedding.gate"] = f"{tower}.{name}.gate"
    return names


def _idefics(c: Config) -> VisionConfig:
    v = dict(c["vision_config"])
    v |= {"hidden_size": v.get("embed_dim", v.get("hidden_size", 768)), "hidden_act": v.get("hidden_act", "gelu")}
    tower, resampler = clip(v, keep="all"), None
    if c.get("use_resampler"):
        p = c["perceiver_config"]
        C = tower.block.dim
        heads = {"heads": p["resampler_n_heads"], "head_dim": p["resampler_head_dim"], "hidden": 4 * C}
        block = BlockConfig(
            C,
            norm="layer",
            qk_norm="layer" if p.get("qk_layer_norms_perceiver") else "none",
            act="relu",
            gated=False,
            **heads,
        )
        resampler = ResamplerConfig(block, p["resampler_depth"], p["resampler_n_latents"])
    return VisionConfig(tower, resampler=resampler, pack="tokens")


def _idefics_names(c: Config, ours: str) -> dict[str, Value]:
    theirs, r = "model.perceiver_resampler", f"{ours}.resampler"
    attention, mlp, layer = f"{theirs}.blocks.{{}}.0", f"{theirs}.blocks.{{}}.1", f"{r}.layers.{{}}"
    return {
        **clip_names(_idefics(c).tower, "model.vision_model", f"{ours}.tower"),
        f"{theirs}.latents": f"{r}.latents",
        **linear(f"{theirs}.layer_norm", f"{r}.norm"),
        **linear(f"{attention}.context_layer_norm", f"{layer}.norm_context"),
        **linear(f"{attention}.latents_layer_norm", f"{layer}.norm1"),
        f"{attention}.q_proj.weight": f"{layer}.attn.q.weight",
        **joined([f"{attention}.k_proj", f"{attention}.v_proj"], f"{layer}.attn.kv", (1, 1), bias=False),
        f"{attention}.output_proj.weight": f"{layer}.attn.out.weight",
        **{
            f"{attention}.{part}_layer_norm.{theirs}": Join(f"{layer}.attn.qk_{ours_}", i, (1, 1))
            for theirs, ours_ in (("weight", "gain"), ("bias", "shift"))
            for i, part in enumerate("qk")
        },
        **linear(f"{mlp}.ln", f"{layer}.norm2"),
        f"{mlp}.fc.weight": f"{layer}.mlp.up.weight",
        f"{mlp}.c_proj.weight": f"{layer}.mlp.down.weight",
    }


def _clip_alone_names(c: Config, ours: str) -> dict[str, Value]:
    return clip_names(clip(c, keep="all"), "vision_model", _tower(ours))


def _siglip_alone_names(c: Config, ours: str) -> dict[str, Value]:
    head = ["probe", *(f"attention.{name}" for name in ("in_proj_weight", "in_proj_bias"))]
    parts = [f"{part}.{name}" for part in ("attention.out_proj", "layernorm", *FC) for name in ("weight", "bias")]
    names = clip_names(siglip(c), "vision_model", _tower(ours))
    return names | {f"vision_model.head.{name}": None for name in (*head, *parts)}  # it pools: see clip.py


def _alone(tower: Callable[[Config], Any]) -> Callable[[Config], VisionConfig]:
    """A tower that is a model of its own: all its tokens come out."""
    return lambda c: VisionConfig(tower(c), pack="tokens")


def _dinov2_names(c: Config, ours: str) -> dict[str, Value]:
    return towers.dinov2_names(_tower(ours))


def _tower(ours: str) -> str:
    return f"{ours}.tower" if ours else "tower"


_KINDS: dict[str, tuple[Callable[[Config], VisionConfig], Callable[[Config, str], dict[str, Value]]]] = {
    "llava": (_llava, _llava_names),
    "llava_next": (_llava, _llava_names),
    "gemma3": (_gemma3, _gemma3_names),
    "qwen2_vl": (_qwen2_vl, _qwen2_vl_names),
    "NVLM_D": (_internvl, _internvl_names),
    "internvl_chat": (_internvl, _internvl_names),
    "internvl": (_internvl, _internvl_names),
    "phi3_v": (_phi3_v, _phi3_v_names),
    "molmo": (_molmo, _molmo_names),
    "mllama": (_mllama, _mllama_names),
    "idefics": (_idefics, _idefics_names),
    "dinov2": (_alone(towers.dinov2), _dinov2_names),
    "clip_vision_model": (_alone(lambda c: clip(c, keep="all")), _clip_alone_names),
    "siglip_vision_model": (_alone(siglip), _siglip_alone_names),
}
