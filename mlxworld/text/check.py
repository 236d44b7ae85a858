"""A published model here beside transformers' own, where that is installed: the same picture, the same words."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MlxworldError
from .assistant import Assistant, Picture
from .chat import parts
from .generate import Options

TOKENS = 32


def check(assistant: Assistant, folder: Path, question: str, pictures: Sequence[Picture] = ()) -> str:
    """A table of differences: ids of the prompt, logits, words. Both compute in float32, transformers on the CPU.

    Raises MlxworldError where transformers is not installed, or cannot read the folder.
    """
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise MlxworldError("--check needs transformers: pip install transformers") from error
    if any(picture.ndim == 4 for picture in pictures):
        raise MlxworldError("--check compares pictures and words, no films")
    message = {"role": "user", "content": parts(question, ["image"] * len(pictures))}
    text = assistant.text([message])
    arrays, seen = assistant.read(text, pictures)
    inputs, theirs = _theirs(transformers, folder, text, pictures, assistant.config.vision is not None)
    their_ids, ids = np.asarray(inputs["input_ids"])[0], arrays["ids"][0]
    rows = [("tokens of the prompt", f"{len(ids)} here, {len(their_ids)} there")]
    rows += [("the same ids", "yes" if np.array_equal(their_ids, ids) else "NO")]
    logits = assistant.generator.logits(arrays, seen)[0]
    their_logits = theirs(**inputs).logits.detach().float().numpy()[0]
    if logits.shape == their_logits.shape:
        difference = np.abs(logits - their_logits)
        rows += [("logits: largest difference", f"{difference.max():.2e}, of {np.abs(their_logits).max():.1f} at most")]
    words = assistant.generator.tokens(arrays, seen, Options(TOKENS, assistant.ends))[0]
    asked = theirs.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
    their_words = np.asarray(asked)[0, len(their_ids) :].tolist()
    same = next((i for i, (a, b) in enumerate(zip(words, their_words, strict=False)) if a != b), len(words))
    rows += [("likeliest tokens that agree", f"{same} of {len(words)}")]
    rows += [("here", assistant.tokenizer.decode(words)), ("there", assistant.tokenizer.decode(their_words))]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _theirs(
    transformers: Any, folder: Path, text: str, pictures: Sequence[Picture], sees: bool
) -> tuple[dict[str, Any], Any]:
    """The inputs and the model of transformers. sees: whether it is a model that takes pictures."""
    kind = "AutoModelForImageTextToText" if sees else "AutoModelForCausalLM"
    try:
        reader = (transformers.AutoProcessor if pictures else transformers.AutoTokenizer).from_pretrained(folder)
        given = {"images": list(pictures)} if pictures else {}
        inputs = dict(reader(text=[text], return_tensors="pt", **given))
        model = getattr(transformers, kind).from_pretrained(folder, dtype="float32")
    except Exception as error:  # of code that is not ours, of any kind
        line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise MlxworldError(f"transformers cannot read {folder}: {line.strip()}") from error
    return inputs, model.eval()
