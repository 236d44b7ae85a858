"""Published vision-language models and decoders of words alone, by `model_type`: configuration and names of arrays."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from ...configs.vision_language import VisionLanguageConfig
from ..names import Table, Value
from . import decoders, vision

FAMILY = "vision_language"
Config = Mapping[str, Any]

_WORDS = ("llama", "mistral", "qwen2", "gemma3_text", "phi3", "cohere")
_PAIR = (
    "llava",
    "llava_next",
    "gemma3",
    "mllama",
    "internvl",
    "NVLM_D",
    "internvl_chat",
)  # a text configuration inside
WIDE = ("gemma3", "gemma3_text")  # between whose blocks numbers grow beyond float16's largest, 65504
MODEL_TYPES = (*_WORDS, *_PAIR, "qwen2_vl", "phi3_v", "molmo", "idefics")

# Newer spellings as the published one: the first pattern that matches a name's beginning is replaced.
_NEWER = (
    (r"model\.language_model\.", "language_model.model."),
    (r"model\.(?=multi_modal_projector|image_newline|vision_tower|vision_model)", ""),
    (r"lm_head\.", "language_model.lm_head."),
)
_TOWER = ((r"vision_tower\.(?!vision_model\.)", "vision_tower.vision_model."),)
_RENAMED: dict[str, tuple[tuple[tuple[str, str], ...], ...]] = {
    "llava": (_NEWER, _TOWER),
    "llava_next": (_NEWER, _TOWER),
    "gemma3": (_NEWER, _TOWER),
    "mllama": (_NEWER,),
    "internvl": (_NEWER,),
    "qwen2_vl": (((r"model\.language_model\.", "model."), (r"model\.visual\.", "visual.")),),
}


def model(published: Config) -> str:
    """The class of `models/vision_language` that it is."""
    return "Model"


def config(published: Config) -> VisionLanguageConfig:
    """Our configuration of a published one."""
    kind, text, text_kind = _parts(published)
    tied = published.get("tie_word_embeddings") if kind in (*_PAIR, "qwen2_vl") else None
    if tied is None and "llm_config" not in published and "tie_word_embeddings" not in text:
        tied = {"internvl": True, "gemma3": True}.get(kind)
    if kind == "NVLM_D" or kind == "internvl_chat":
        tied = text.get("tie_word_embeddings", False)
    image = published.get("image_token_index", published.get("image_token_id"))
    return VisionLanguageConfig(
        decoder=decoders.decoder(text, text_kind, tied),
        vision=None if kind in _WORDS else vision.config(published),
        image_token=-1 if image is None else int(image),
        video_token=int(published.get("video_token_id", -1)) if kind == "qwen2_vl" else -1,
        adds=kind == "molmo",
        whole_pictures=kind == "gemma3",
    )


def table(published: Config) -> Table:
    """Names of all arrays, the published ones to ours."""
    kind, _, text_kind = _parts(published)
    cfg = config(published).decoder
    inside = kind in _PAIR
    prefix, head = ("language_model.model", "language_model.lm_head") if inside else ("model", "lm_head")
    names: dict[str, Value] = decoders.table(cfg, text_kind, prefix, head, published.get("additional_vocab_size", 0))
    return names if kind in _WORDS else {**names, **vision.table(published)}


def renamed(published: Config) -> Callable[[str], str]:
    """A function of an array's name that gives the published one, whatever layout the name is of."""
    rules = _RENAMED.get(published["model_type"], ())

    def rename(name: str) -> str:
        for step in rules:
            for pattern, place in step:
                if match := re.match(pattern, name):
                    name = place + name[match.end() :]
                    break
        return name

    return rename


def _parts(published: Config) -> tuple[str, Config, str]:
    """Model type, text configuration, and its model type."""
    kind: str = published["model_type"]
    if kind in _WORDS:
        return kind, published, kind
    if kind in _PAIR:
        text: Config = published.get("text_config") or published["llm_config"]
        default = {"gemma3": "gemma3_text", "mllama": "mllama_text_model"}.get(kind, "llama")
        return kind, text, text.get("model_type", default)
    if kind == "qwen2_vl":
        return kind, published.get("text_config") or published, kind
    return kind, published, {"phi3_v": "phi3"}.get(kind, kind)


_VICUNA = (
    "{% for m in messages %}{% if m['role'] == 'user' %}USER: {{ m['content'] }} "
    "{% else %}ASSISTANT: {{ m['content'] }}</s>{% endif %}{% endfor %}ASSISTANT:"
)
_LINES = "{% for m in messages %}{{ m['role'].capitalize() }}: {{ m['content'] }}\n{% endfor %}Assistant:"
_MOLMO = (  # pictures come before all words
    "{% for m in messages %}{{ '<image>' * m['content'].count('<image>\n') }}{% endfor %}{% for m in messages %}"
    " {{ m['role'].capitalize() }}: {{ m['content'].replace('<image>\n', '') }}{% endfor %} Assistant:"
)
_IDEFICS = (  # no space around a picture
    "{{ bos_token }}{% for m in messages %}{{ m['role'].capitalize() }}:{{ '' if m['content'].startswith('<image>')"
    " else ' ' }}{{ m['content'].replace('<image>\n', '<image>') }}\n{% endfor %}Assistant:"
)
_MARKS = {"molmo": "<im_patch>", "idefics": "<image>", "NVLM_D": "<|vision_pad|>", "internvl_chat": "<IMG_CONTEXT>"}


def template(published: Config) -> str:
    """The chat template of models that were published without one."""
    own = {"llava": _VICUNA, "molmo": _MOLMO, "idefics": _IDEFICS, "mllama": "{{ bos_token }}" + _LINES}
    return own.get(published["model_type"], _LINES)


def marks(published: Config) -> tuple[str | None, bool]:
    """The token that stands for a feature, of models whose configuration does not tell its id; and whether every text
    begins with the tokenizer's first token, or its last where it has no first (Molmo)."""
    return _MARKS.get(published["model_type"]), published["model_type"] == "molmo"
