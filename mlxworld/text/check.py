"""A published model here beside transformers' own, where that is installed: the same picture, the same words."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MlxworldError, one_line
from .assistant import Assistant, Picture
from .chat import Message, parts
from .generate import Options

TOKENS = 32


def check(assistant: Assistant, folder: Path, question: str, pictures: Sequence[Picture] = ()) -> str:
    """A table of differences: text and ids of the prompt, logits, words. Both compute in float32, transformers on the
    CPU; pictures are resized by Pillow on both sides, films by torchvision there, whose pixels differ by one of 255.

    Raises MlxworldError where transformers or what it needs is not installed, or where it cannot read the folder.
    """
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise MlxworldError("--check needs transformers: pip install transformers") from error
    transformers.logging.disable_progress_bar()
    message = {"role": "user", "content": parts(question, ["video" if x.ndim == 4 else "image" for x in pictures])}
    text = assistant.text([message])
    arrays, seen = assistant.read(text, pictures)
    reader, theirs = _theirs(transformers, folder, bool(pictures), assistant.config.vision is not None)
    inputs = _inputs(reader, folder, assistant, text, pictures)
    their_ids, ids = np.asarray(inputs["input_ids"])[0], arrays["ids"][0]
    rows = []
    if getattr(reader, "chat_template", None):
        rows += [("the same text", "yes" if _text(reader, folder, message) == text else "NO")]
    rows += [("tokens of the prompt", f"{len(ids)} here, {len(their_ids)} there")]
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


def _theirs(transformers: Any, folder: Path, with_pictures: bool, sees: bool) -> tuple[Any, Any]:
    """What reads inputs there, and the model. sees: whether it is a model that takes pictures."""
    kind = "AutoModelForImageTextToText" if sees else "AutoModelForCausalLM"
    try:
        reader = (transformers.AutoProcessor if with_pictures else transformers.AutoTokenizer).from_pretrained(folder)
        if hasattr(reader, "image_processor"):
            reader.image_processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
        model = getattr(transformers, kind).from_pretrained(folder, dtype="float32")
    except Exception as error:  # of code that is not ours, of any kind
        raise _refusal(folder, error) from error
    return reader, model.eval()


def _inputs(reader: Any, folder: Path, assistant: Assistant, text: str, pictures: Sequence[Picture]) -> dict[str, Any]:
    """What the model of transformers takes."""
    images, videos = ([x for x in pictures if x.ndim == n] for n in (3, 4))
    given: dict[str, Any] = {"images": images} if images else {}
    if videos:  # resized as the authors' own reader does, whatever the folder says of pictures
        size = {"shortest_edge": assistant.processor.least_of_film, "longest_edge": assistant.processor.most_of_film}
        given |= {"videos": videos, "videos_kwargs": {"size": size, "cap_pixels_per_frame": True}}
    bos, texts = assistant.tokenizer.bos, [text]
    if type(reader).__name__ == "IdeficsProcessor":  # which takes texts and pictures one after another, and begins them
        places, rest = text.removeprefix(bos or "").split(assistant.processor.placeholder), iter(images)
        pairs = [([place] if place else []) + [image] for place, image in zip(places, [*rest, None], strict=True)]
        given, texts = {}, [[part for pair in pairs for part in pair if part is not None]]
    elif bos and text.startswith(bos):
        given["add_special_tokens"] = False
    try:
        return dict(reader(text=texts, return_tensors="pt", **given))
    except Exception as error:
        raise _refusal(folder, error) from error


def _text(reader: Any, folder: Path, message: Message) -> str:
    """The prompt by transformers' own reading of the chat template."""
    has_pictures = any(part["type"] != "text" for part in message["content"])
    plain = message if has_pictures else {**message, "content": message["content"][0]["text"]}
    try:
        return reader.apply_chat_template([plain], add_generation_prompt=True, tokenize=False)
    except Exception as error:
        raise _refusal(folder, error) from error


def _refusal(folder: Path, error: BaseException) -> MlxworldError:
    """The one line of what went wrong there: its first cause."""
    told = str(error)
    while error.__cause__ is not None:
        error = error.__cause__
        told += str(error)
    reason = one_line(str(error)) or type(error).__name__
    if "torchvision" not in told.lower():
        return MlxworldError(f"transformers cannot read {folder}: {reason}")
    if importlib.util.find_spec("torchvision") is None:
        return MlxworldError(f"--check of {folder} needs torchvision beside transformers: pip install torchvision")
    return MlxworldError(f"--check of {folder} needs a torchvision that fits this torch: {reason}")
