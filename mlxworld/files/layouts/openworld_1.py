"""OpenWorld's folders of format 1, as its first release wrote them: the names that have changed since."""

CONFIG = {
    "vision.memory": "vision.temporal_window",
    "dynamics.window": "dynamics.local_window",
    "dynamics.memory": "dynamics.global_window",
    "dynamics.every": "dynamics.global_every",
    "dynamics.levels": "dynamics.noise_levels",
    "dynamics.cache": "dynamics.kv_cache",
    "dynamics.context": None,  # keys of the last denoising pass: measured worse
}


_BLOCK = ("norm1.weight", "norm2.weight", "attn.qkv.weight", "attn.out.weight", "mlp.up.weight", "mlp.down.weight")
_AFFINE = ("weight", "bias")


def _block(theirs: str, ours: str) -> dict[str, str]:
    """A block, and the gain of its queries and keys."""
    names = {f"{theirs}.{name}": f"{ours}.{name}" for name in _BLOCK} if theirs != ours else {}
    return names | {f"{theirs}.attn.gain": f"{ours}.attn.qk_gain"}


def _layer(theirs: str, ours: str, *parts: str) -> dict[str, str]:
    return {f"{theirs}.{part}": f"{ours}.{part}" for part in parts}


_T = "tokenizer."
WEIGHTS = {
    f"{_T}still": f"{_T}mean_frame",
    # the vision encoder
    **_layer(f"{_T}vision.embed", f"{_T}vision_encoder.embed", *_AFFINE),
    f"{_T}vision.encoding.code": f"{_T}vision_encoder.encoding.code",
    **_block(f"{_T}vision.blocks.{{}}", f"{_T}vision_encoder.blocks.{{}}"),
    **_block(f"{_T}vision.past", f"{_T}vision_encoder.temporal_block"),
    f"{_T}vision.norms.{{}}.weight": f"{_T}vision_encoder.norms.{{}}.weight",
    # the audio encoder
    **_layer(f"{_T}hearing.conv{{}}", f"{_T}audio_encoder.conv{{}}", *_AFFINE),
    **_layer(f"{_T}hearing", f"{_T}audio_encoder", "norm.weight", "code"),
    # fusion and the compressor
    f"{_T}fusion.video_tokens": f"{_T}fusion.missing_video",
    f"{_T}fusion.audio_tokens": f"{_T}fusion.missing_audio",
    f"{_T}fusion.bring.{{}}.weight": f"{_T}fusion.project.{{}}.weight",
    **_block(f"{_T}fusion.levels.{{}}.video_block", f"{_T}fusion.levels.{{}}.video_block"),
    **_block(f"{_T}fusion.levels.{{}}.audio_block", f"{_T}fusion.levels.{{}}.audio_block"),
    **{
        f"{_T}fusion.levels.{{}}.{side}_cross.{theirs}": f"{_T}fusion.levels.{{}}.{side}_cross.{ours}"
        for side in ("video", "audio")
        for theirs, ours in (
            ("attn.gain", "attn.qk_gain"),
            ("gate", "channel_gate"),
            ("weigh.weight", "token_gate.weight"),
            ("weigh.bias", "token_gate.bias"),
        )
    },
    f"{_T}compressor.tokens": f"{_T}compressor.queries",
    f"{_T}compressor.attn.gain": f"{_T}compressor.attn.qk_gain",
    # what decoders read
    **{
        name: value
        for theirs, ours in (("seeing", "video_processor"), ("sounding", "audio_processor"))
        for name, value in (
            _layer(f"{_T}{theirs}.embed", f"{_T}{ours}.embed", *_AFFINE)
            | {f"{_T}{theirs}.code": f"{_T}{ours}.code", f"{_T}{theirs}.tokens": f"{_T}{ours}.queries"}
            | _block(f"{_T}{theirs}.blocks.{{}}", f"{_T}{ours}.blocks.{{}}")
            | {f"{_T}{theirs}.norm.weight": f"{_T}{ours}.norm.weight"}
        ).items()
    },
    # the video decoder
    **_layer(f"{_T}video.unfold", f"{_T}video_decoder.unfold", *_AFFINE),
    **_layer(f"{_T}video.stages.{{}}", f"{_T}video_decoder.stages.{{}}", "norm.weight", "conv.weight", "conv.bias"),
    **_layer(f"{_T}video.grow.{{}}", f"{_T}video_decoder.upsample.{{}}", *_AFFINE),
    f"{_T}video.norm.weight": f"{_T}video_decoder.norm.weight",
    **_layer(f"{_T}video.head", f"{_T}video_decoder.head", *_AFFINE),
    # the audio decoder
    **_layer(f"{_T}audio.spread", f"{_T}audio_decoder.expand", *_AFFINE),
    **_layer(f"{_T}audio.conv", f"{_T}audio_decoder.conv", *_AFFINE),
    f"{_T}audio.norm.weight": f"{_T}audio_decoder.norm.weight",
    **_layer(f"{_T}audio.head", f"{_T}audio_decoder.head", *_AFFINE),
    # the dynamics
    "dynamics.embed_level.weight": "dynamics.embed_noise_level.weight",
    "dynamics.embed_stride.weight": "dynamics.embed_step_size.weight",
    "dynamics.blocks.{}.attn.gain": "dynamics.blocks.{}.attn.qk_gain",
}
