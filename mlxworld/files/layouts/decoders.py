"""Decoders of published models: their configurations, in older and newer spellings, and their arrays' names."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...configs.block import BlockConfig
from ...configs.vision_language import DecoderConfig, RopeConfig
from ...errors import MlxworldError
from ..names import Join, Ones, Swapped, Value
from ..reading import shown

Config = Mapping[str, Any]

# What a configuration leaves out is its class's default.
_LLAMA = {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32}
_LLAMA |= {"num_attention_heads": 32, "rms_norm_eps": 1e-6, "rope_theta": 1e4, "hidden_act": "silu"}
_QWEN2 = _LLAMA | {"vocab_size": 151936, "intermediate_size": 22016, "num_key_value_heads": 32}
_QWEN2_VL = _QWEN2 | {"vocab_size": 152064, "hidden_size": 8192, "intermediate_size": 29568, "num_hidden_layers": 80}
_QWEN2_VL |= {"num_attention_heads": 64, "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "rope_theta": 1e6}
_GEMMA3 = {"vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26}
_GEMMA3 |= {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "rms_norm_eps": 1e-6}
_GEMMA3 |= {"rope_theta": 1e6, "hidden_act": "gelu_tanh", "tie_word_embeddings": True, "sliding_window": 4096}
_GEMMA3 |= {"rope_local_base_freq": 1e4, "sliding_window_pattern": 6, "query_pre_attn_scalar": 256}
_COHERE = {"vocab_size": 256000, "hidden_size": 8192, "intermediate_size": 22528, "num_hidden_layers": 40}
_COHERE |= {"num_attention_heads": 64, "rope_theta": 5e5, "hidden_act": "silu", "tie_word_embeddings": True}
_COHERE |= {"logit_scale": 0.0625, "layer_norm_eps": 1e-5}
_MLLAMA = _LLAMA | {"vocab_size": 128256, "intermediate_size": 14336, "num_hidden_layers": 40, "rms_norm_eps": 1e-5}
_MLLAMA |= {"num_key_value_heads": 8, "rope_theta": 5e5, "cross_attention_layers": [3, 8, 13, 18, 23, 28, 33, 38]}
_MISTRAL = _LLAMA | {"intermediate_size": 14336, "num_key_value_heads": 8, "sliding_window": 4096}
MOST_LAYERS = 1000
DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "mistral": _MISTRAL,
    "qwen2": _QWEN2,
    "qwen2_vl": _QWEN2_VL,
    "gemma3_text": _GEMMA3,
    "phi3": _LLAMA | {"vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "rms_norm_eps": 1e-5},
    "cohere": _COHERE,
    "mllama_text_model": _MLLAMA,
    "idefics": _LLAMA | {"additional_vocab_size": 0, "cross_layer_interval": 1},
    "molmo": _LLAMA | {"vocab_size": 152064, "rms_norm_eps": 1e-5, "rope_theta": 1e6, "additional_vocab_size": 128},
}


def decoder(published: Config, kind: str, tied: bool | None = None) -> DecoderConfig:
    """The decoder of a text configuration of model type `kind`. tied: what the whole model's configuration says."""
    c = {**DEFAULTS[kind], **{name: value for name, value in published.items() if value is not None}}
    for name in ("attn_logit_softcapping", "final_logit_softcapping", "norm_after", "attention_layer_norm"):
        if c.get(name):
            raise MlxworldError(f"config.json: {name} {shown(c[name])} is not read")
    if c.get("partial_rotary_factor", 1.0) != 1.0:
        raise MlxworldError("config.json: heads that turn in part (partial_rotary_factor) are not read")
    if not 1 <= c["num_hidden_layers"] <= MOST_LAYERS:
        raise MlxworldError(f"config.json: {c['num_hidden_layers']} layers; 1 to {MOST_LAYERS} are read")
    cfg = DecoderConfig(
        block=BlockConfig(
            c["hidden_size"],
            c["num_attention_heads"],
            hidden=c["intermediate_size"],
            kv_heads=c.get("num_key_value_heads", 0),
            head_dim=c.get("head_dim", 0),
            qkv_bias=c.get("attention_bias", False),
            bias=c.get("mlp_bias", False),
            out_bias=c.get("attention_bias", False),
            qk_norm="none",
            eps=c.get("layer_norm_eps", 0) or c["rms_norm_eps"],
            act=c["hidden_act"],
        ),
        layers=("full",) * c["num_hidden_layers"],
        vocab=c["vocab_size"],
        tied=c.get("tie_word_embeddings", False) if tied is None else tied,
        rope=_rope(c),
    )
    return _KINDS[kind](c, cfg) if kind in _KINDS else cfg


def _qwen2(c: Config, cfg: DecoderConfig) -> DecoderConfig:
    if c.get("use_sliding_window"):
        raise MlxworldError("config.json: use_sliding_window is not read")
    return replace(cfg, block=replace(cfg.block, qkv_bias=True))


def _windowed(c: Config, cfg: DecoderConfig) -> DecoderConfig:
    if not c.get("sliding_window"):
        return cfg
    return replace(cfg, layers=("sliding",) * len(cfg.layers), window=c["sliding_window"])


def _mistral(c: Config, cfg: DecoderConfig) -> DecoderConfig:
    return _windowed(c, cfg)


def _gemma3(c: Config, cfg: DecoderConfig) -> DecoderConfig:
    n, kinds = len(cfg.layers), c.get("layer_types")
    every = c.get("_sliding_window_pattern", c["sliding_window_pattern"])
    full = [kind == "full_attention" for kind in kinds] if kinds else [(i + 1) % every == 0 for i in range(n)]
    rope = c.get("rope_parameters") or {}
    local = rope.get("sliding_attention", {"rope_theta": c["rope_local_base_freq"]})
    block = replace(cfg.block, norm="rms_plus_one", qk_norm="shared", order="sandwich", act="gelu_tanh")
    return replace(
        cfg,
        block=block,
        layers=tuple("full" if whole else "sliding" for whole in full),
        window=c["sliding_window"],
        rope=_rope({**c, "rope_parameters": rope.get("full_attention")}),
        sliding_rope=_rope({"rope_parameters": local}),
        attention_scale=c["query_pre_attn_scalar"] ** -0.5,
        embed_scale=c["hidden_size"] ** 0.5,
    )


def _cohere(c: Config, cfg: DecoderConfig) -> DecoderConfig:
    if c.get("use_qk_norm"):
        raise MlxworldError("config.json: use_qk_norm of cohere is not read")
    block = replace(cfg.block, norm="layer", order="parallel")
    return replace(cfg, block=block, rope=replace(cfg.rope, interleaved=True), logit_scale=c["logit_scale"])


def _mllama(c: Config, cfg: DecoderConfig) -> DecoderConfig:
    at = set(c["cross_attention_layers"])
    layers = tuple("cross" if i in at else "full" for i in range(len(cfg.layers)))
    cross = replace(cfg.block, qk_norm="shared", gate="tanh_scalar", blind="mlp")
    return replace(cfg, layers=layers, cross=cross, tokens=cfg.vocab + 8)  # eight more, the picture's among them


def _idefics(c: Config, cfg: DecoderConfig) -> DecoderConfig:
    every, n = c["cross_layer_interval"], len(cfg.layers)
    layers = tuple(kind for i in range(n) for kind in (("cross", "full") if i % every == 0 else ("full",)))
    gate = "tanh" if c.get("alpha_type") == "vector" else "tanh_scalar"
    qk_norm = "shared" if c.get("qk_layer_norms") else "none"
    source = c["vision_config"].get("embed_dim", 768)
    cross = replace(cfg.block, gate=gate, blind="attn", qk_norm=qk_norm, source_dim=source)
    return replace(cfg, layers=layers, cross=cross, vocab=cfg.vocab + c["additional_vocab_size"])


def _molmo(c: Config, cfg: DecoderConfig) -> DecoderConfig:
    if c.get("layer_norm_type", "rms") != "rms":
        raise MlxworldError(f"config.json: layer_norm_type {shown(c['layer_norm_type'])} is not read")
    block = replace(cfg.block, hidden=c["intermediate_size"] // 2, qkv_bias=c.get("qkv_bias", True))
    rows = c.get("embedding_size", cfg.vocab)
    return replace(cfg, block=block, vocab=rows, tokens=rows + c["additional_vocab_size"])


_KINDS = {
    "mistral": _mistral,
    "phi3": _windowed,
    "qwen2": _qwen2,
    "qwen2_vl": _qwen2,
    "gemma3_text": _gemma3,
    "cohere": _cohere,
    "mllama_text_model": _mllama,
    "idefics": _idefics,
    "molmo": _molmo,
}


def _rope(c: Config) -> RopeConfig:
    """Positions: published rope_theta and rope_scaling, newer rope_parameters."""
    p = {**(c.get("rope_scaling") or {}), **(c.get("rope_parameters") or {})}
    kind = p.get("rope_type", p.get("type", "default"))
    base = float(p.get("rope_theta", c.get("rope_theta", 1e4)))
    sections = tuple(p.get("mrope_section", ()))
    if kind in ("default", "mrope"):
        return RopeConfig(base, sections=sections)
    if kind == "linear":
        return RopeConfig(base, factor=float(p["factor"]))
    if kind not in ("llama3", "longrope", "su"):
        raise MlxworldError(f"config.json: rotary positions of type {shown(kind)} are not read")
    trained: int = p.get("original_max_position_embeddings") or c["original_max_position_embeddings"]
    if kind == "llama3":
        limits: dict[str, Any] = {name: float(p[name]) for name in ("factor", "low_freq_factor", "high_freq_factor")}
        return RopeConfig(base, trained_length=trained, **limits)
    factor = p.get("factor") or c["max_position_embeddings"] / trained
    scale = p.get("attention_factor") or (1 + math.log(max(factor, 1.0)) / math.log(trained)) ** 0.5
    factors: dict[str, Any] = {f"{name}s": tuple(map(float, p[name])) for name in ("short_factor", "long_factor")}
    return RopeConfig(base, trained_length=trained, scale=scale, **factors)


def table(
    cfg: DecoderConfig, kind: str, theirs: str = "model", head: str = "lm_head", more: int = 0
) -> dict[str, Value]:
    """Names of a decoder's arrays, theirs to ours, its own under `theirs`. more: last rows of the tables of words that
    are arrays of their own."""
    ours = "decoder"
    if kind == "molmo":
        return _molmo_table(cfg, ours)
    names: dict[str, Value] = {f"{theirs}.norm.weight": f"{ours}.norm.weight"}
    names |= {f"{theirs}.layers.{{}}.self_attn.rotary_emb.inv_freq": None}  # of older files
    if kind == "idefics":
        rows = (cfg.vocab - more, more)
        names |= _split(f"{theirs}.embed_tokens.weight", f"{theirs}.embed_tokens.additional_embedding.weight",
                        f"{ours}.embed.weight", rows)  # fmt: skip
        names |= _split(f"{head}.weight", f"{head}.additional_fc.weight", f"{ours}.head.weight", rows)
    else:
        names |= {f"{theirs}.embed_tokens.weight": f"{ours}.embed.weight"}
        names |= {f"{head}.weight": None if cfg.tied else f"{ours}.head.weight"}
    if "cross" not in cfg.layers:
        return names | _block(cfg.block, f"{theirs}.layers.{{}}", f"{ours}.blocks.{{}}", kind)
    return names | _with_cross(cfg, theirs, ours, kind)


def _with_cross(cfg: DecoderConfig, theirs: str, ours: str, kind: str) -> dict[str, Value]:
    """Layers that are told apart by their numbers."""
    assert cfg.cross is not None
    names: dict[str, Value] = {}
    crosses = plain = 0
    for i, layer in enumerate(cfg.layers):
        place = f"{ours}.blocks.{i}"
        if layer != "cross":
            number = i if kind == "mllama_text_model" else plain
            names |= _block(cfg.block, f"{theirs}.layers.{number}", place, kind)
            plain += 1
        elif kind == "mllama_text_model":
            names |= _cross(cfg.cross, f"{theirs}.layers.{i}", place, kind)
        else:
            names |= _cross(cfg.cross, f"{theirs}.gated_cross_attn_layers.{crosses}", place, kind)
            crosses += 1
    return names


_NORMS = {"input_layernorm": "norm1", "post_attention_layernorm": "norm2"}
_SANDWICH = {"input_layernorm": "norm1", "post_attention_layernorm": "norm1_after"}
_SANDWICH |= {"pre_feedforward_layernorm": "norm2", "post_feedforward_layernorm": "norm2_after"}


def _block(cfg: BlockConfig, theirs: str, ours: str, kind: str) -> dict[str, Value]:
    """A block's names."""
    H, G = cfg.heads, cfg.groups
    norms = {"sandwich": _SANDWICH, "parallel": {"input_layernorm": "norm1"}}.get(cfg.order, _NORMS)
    names: dict[str, Value] = {f"{theirs}.{a}.weight": f"{ours}.{b}.weight" for a, b in norms.items()}
    if kind == "phi3":
        names |= {f"{theirs}.self_attn.qkv_proj.weight": f"{ours}.attn.qkv.weight"}
        names |= {f"{theirs}.mlp.gate_up_proj.weight": f"{ours}.mlp.up.weight"}
    else:
        names |= _joined([f"{theirs}.self_attn.{x}_proj" for x in "qkv"], f"{ours}.attn.qkv", (H, G, G), cfg.qkv_bias)
        names |= _joined([f"{theirs}.mlp.{x}_proj" for x in ("gate", "up")], f"{ours}.mlp.up", (1, 1), cfg.bias)
    if cfg.qk_norm == "shared":
        names |= _gain(f"{theirs}.self_attn", f"{ours}.attn")
    return names | _outputs(cfg, f"{theirs}.self_attn", theirs, ours)


def _cross(cfg: BlockConfig, theirs: str, ours: str, kind: str) -> dict[str, Value]:
    """The names of a block that attends to pictures, in mllama or idefics."""
    names: dict[str, Value] = {f"{theirs}.{a}.weight": f"{ours}.{b}.weight" for a, b in _NORMS.items()}
    names |= {f"{theirs}.cross_attn.q_proj.weight": f"{ours}.attn.q.weight"}
    names |= _joined([f"{theirs}.cross_attn.{x}_proj" for x in "kv"], f"{ours}.attn.kv", (1, 1), False)
    names |= _joined([f"{theirs}.mlp.{x}_proj" for x in ("gate", "up")], f"{ours}.mlp.up", (1, 1), cfg.bias)
    if cfg.qk_norm == "shared":
        names |= _gain(f"{theirs}.cross_attn", f"{ours}.attn", "{}_layer_norm" if kind == "idefics" else "{}_norm")
    gates = (
        ("alpha_cross_attn", "alpha_dense") if kind == "idefics" else ("cross_attn_attn_gate", "cross_attn_mlp_gate")
    )
    for i, gate in enumerate(gates, 1):
        names[f"{theirs}.{gate}"] = Ones(f"{ours}.gate{i}", 2) if cfg.gate == "tanh" else f"{ours}.gate{i}"
    return names | _outputs(cfg, f"{theirs}.cross_attn", theirs, ours)


def _gain(theirs: str, ours: str, name: str = "{}_norm") -> dict[str, Value]:
    return {f"{theirs}.{name.format(x)}.weight": Join(f"{ours}.qk_gain", i, (1, 1)) for i, x in enumerate("qk")}


def _outputs(cfg: BlockConfig, attention: str, theirs: str, ours: str) -> dict[str, Value]:
    names: dict[str, Value] = {f"{attention}.o_proj.weight": f"{ours}.attn.out.weight"}
    names |= {f"{theirs}.mlp.down_proj.weight": f"{ours}.mlp.down.weight"}
    if cfg.out_bias:
        names |= {f"{attention}.o_proj.bias": f"{ours}.attn.out.bias"}
    return names | ({f"{theirs}.mlp.down_proj.bias": f"{ours}.mlp.down.bias"} if cfg.bias else {})


def _joined(parts: list[str], ours: str, shares: tuple[int, ...], bias: bool) -> dict[str, Value]:
    kinds = ("weight", "bias") if bias else ("weight",)
    return {f"{part}.{k}": Join(f"{ours}.{k}", i, shares) for k in kinds for i, part in enumerate(parts)}


def _split(first: str, second: str, ours: str, rows: tuple[int, int]) -> dict[str, Value]:
    """A table whose last rows are an array of their own."""
    return {first: Join(ours, 0, rows), second: Join(ours, 1, rows)} if rows[1] else {first: ours}


def _molmo_table(cfg: DecoderConfig, ours: str) -> dict[str, Value]:
    theirs, layer, block = "model.transformer", "model.transformer.blocks.{}", f"{ours}.blocks.{{}}"
    names = _split(f"{theirs}.wte.embedding", f"{theirs}.wte.new_embedding", f"{ours}.embed.weight",
                   (cfg.vocab, cfg.tokens - cfg.vocab))  # fmt: skip
    names |= {f"{theirs}.ln_f.weight": f"{ours}.norm.weight", f"{theirs}.ff_out.weight": f"{ours}.head.weight"}
    names |= {f"{layer}.attn_norm.weight": f"{block}.norm1.weight", f"{layer}.ff_norm.weight": f"{block}.norm2.weight"}
    names |= {f"{layer}.att_proj.{part}": f"{block}.attn.qkv.{part}" for part in ("weight", "bias")}
    names |= {f"{layer}.ff_proj.weight": Swapped(f"{block}.mlp.up.weight")}  # the gate is its second half
    names |= {f"{layer}.attn_out.weight": f"{block}.attn.out.weight"}
    return names | {f"{layer}.ff_out.weight": f"{block}.mlp.down.weight"}
