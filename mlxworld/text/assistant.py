"""A published model that is asked: its tokenizer, chat template, image processor and generator together.

`Assistant.load(folder, mlxworld.on("mlx"))`, then `answer` or `stream`; what was said before goes on as a `Talk`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .. import images
from ..errors import MlxworldError
from ..files import pretrained
from ..files.reading import read_json, shown
from ..images import pixels
from ..images.prepared import Piece, Prepared
from ..play.hooks import join
from . import chat, tokenizer
from .generate import Generator, Options, Pictures
from .prompt import Arrays, attended, prompt

Picture = np.ndarray  # uint8 (H, W, 3); a film has an axis of frames before


@dataclass
class Talk:
    """What was said so far, and the pictures and films in it, in order."""

    messages: list[chat.Message] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)


class Assistant:
    def __init__(self, loaded: pretrained.Pretrained, compile: bool = False):  # noqa: A002
        """loaded: the model. compile: its step, in the background."""
        folder, self.config, self.published = loaded.folder, loaded.config, loaded.published
        if not hasattr(self.config, "decoder"):
            raise MlxworldError(f"{folder}: {shown(self.published['model_type'])} is no model that writes text")
        self.tokenizer = tokenizer.load(folder)
        self.processor: Any = images.load(folder) if loaded.config.vision is not None else None
        self.generator = Generator(loaded.package, loaded.model, compile)
        layout = pretrained.types()[self.published["model_type"]]
        self.template = chat.template(folder) or layout.template(self.published)
        self.ends = _ends(folder, self.published, self.tokenizer)
        self.words = self.config.decoder.tokens or self.config.decoder.vocab  # ids that have an embedding
        self._mark, self._begin = layout.marks(self.published)
        longest = (self.published.get("text_config") or self.published).get("max_position_embeddings") or 1 << 20
        if not isinstance(longest, int) or longest < 1:
            raise MlxworldError(f"{folder}: max_position_embeddings is {shown(longest)}")
        self.longest = longest  # tokens

    @classmethod
    def load(
        cls,
        folder: str | Path,
        package: ModuleType,
        precision: str | None = None,
        weights: str | None = None,
        compile: bool = False,  # noqa: A002
        hooks: Sequence[str | Path] = (),
    ) -> "Assistant":
        """Of a folder, on a backend; see `pretrained.load`. hooks: files of latent hooks that join its decoder, in this
        order."""
        assistant = cls(pretrained.load(folder, package, precision, weights), compile)
        family = pretrained.types()[assistant.published["model_type"]].FAMILY
        precision = precision or pretrained.usual_precision(package.engine, assistant.published)
        join(package, assistant.generator.model, family, hooks, precision, compiled=True)
        return assistant

    def answer(self, question: str, pictures: Sequence[Picture] = (), options: Options | None = None) -> str:
        """The answer to one question."""
        return "".join(self.stream(question, pictures, options))

    def stream(
        self,
        question: str,
        pictures: Sequence[Picture] = (),
        options: Options | None = None,
        stop: Sequence[str] = (),
        talk: Talk | None = None,
    ) -> Iterator[str]:
        """The answer, as it comes. stop: texts that end it. talk: what was said before, which goes on by this.

        A question that raises MlxworldError is no part of the talk; of an answer that is left early, what came is.
        """
        talk = Talk() if talk is None else talk
        self._require(question, stop)
        for picture in pictures:
            pixels.require(picture)
        kinds = ["video" if picture.ndim == 4 else "image" for picture in pictures]
        messages = [*talk.messages, {"role": "user", "content": chat.parts(question, kinds)}]
        shown = [*talk.pictures, *pictures]
        arrays, seen = self.read(self.text(messages), shown)
        options = replace(options or Options(), ends=(options or Options()).ends or self.ends)
        T = arrays["ids"].shape[1]
        if T + options.most > self.longest:
            asked = f"{T} tokens, and {options.most} to come"
            raise MlxworldError(f"the prompt is too long: {asked}; this model takes {self.longest}")
        said = ""
        try:
            for piece in self._pieces(arrays, seen, options, stop):
                said += piece
                yield piece
        finally:
            said = self._apart(said)
            talk.messages, talk.pictures = [*messages, {"role": "assistant", "content": chat.parts(said)}], shown

    def _require(self, question: str, stop: Sequence[str]) -> None:
        """Raises MlxworldError for a question that is no text or has a picture's mark in it, and for an empty stop."""
        try:
            question.encode()
        except UnicodeEncodeError as error:
            raise MlxworldError(f"the question is no text in Unicode: {shown(question)}") from error
        if places := self._places(question):
            raise MlxworldError(f"the question holds {places[0].group()!r}, which stands for a picture in this model")
        if not all(stop):
            raise MlxworldError("a text that ends an answer must not be empty")

    def _apart(self, said: str) -> str:
        """What a model said, where it spelt a picture's mark with a space in it, or the next turn would lack one."""
        for place in reversed(self._places(said)):
            said = f"{said[: place.start() + 1]} {said[place.start() + 1 :]}"
        return said

    def _pieces(self, arrays, seen, options, stop):
        """Texts, held back as long as they may be the beginning of one of `stop`."""
        if options.beams.beams > 1:
            rows = iter([np.array([n]) for n in self.generator.tokens(arrays, seen, options)[0]])
        else:
            rows = self.generator.stream(arrays, seen, options)
        reader, held = tokenizer.Stream(self.tokenizer), ""
        for row in rows:
            number = int(row[0])
            held += "" if number in options.ends else reader.add(number)
            if places := [held.index(end) for end in stop if end in held]:
                yield held[: min(places)]
                return
            open_ = max((n for end in stop for n in range(1, len(end)) if held.endswith(end[:n])), default=0)
            if ready := held[: len(held) - open_]:
                yield ready
            held = held[len(held) - open_ :]
        held += reader.end()
        if held := held[: min((held.index(end) for end in stop if end in held), default=len(held))]:
            yield held

    def text(self, messages: Sequence[chat.Message]) -> str:
        """What was said, by the model's template, with a placeholder for each picture."""
        tokens = {"bos_token": self.tokenizer.bos, "eos_token": self.tokenizer.eos}
        if self.processor is not None:
            try:
                text = chat.render(self.template, messages, **tokens)
                if self._says(text, messages):
                    return text
            except MlxworldError:
                pass  # a template of words alone
        return chat.render(self.template, self._plain(messages), **tokens)

    def _says(self, text: str, messages: Sequence[chat.Message]) -> bool:
        """Whether a text has all words and places of pictures of messages, and is made of their parts, not of what
        Python calls them."""
        parts = [part for message in messages for part in message["content"]]
        words = [part["text"].strip() for part in parts if part["type"] == "text"]
        places = len(self._places(text)) == len(parts) - len(words)
        return places and all(word in text for word in words) and not any(str(part) in text for part in parts)

    def _plain(self, messages):
        """Messages whose content is text, placeholders before it."""
        plain, number = [], 0
        for message in messages:
            text = ""
            for part in message["content"]:
                if part["type"] == "text":
                    text += part["text"]
                else:
                    number += 1
                    name = "placeholder" if part["type"] == "image" else "placeholder_of_film"
                    if not hasattr(self.processor, name):
                        raise MlxworldError(f"this model takes no {'pictures' if name == 'placeholder' else 'films'}")
                    text += getattr(self.processor, name).format(number) + "\n"
            plain.append({"role": message["role"], "content": text})
        return plain

    def _places(self, text: str) -> list[re.Match[str]]:
        """The placeholders of a text."""
        names = [getattr(self.processor, n, None) for n in ("placeholder", "placeholder_of_film")]
        patterns = [re.escape(name).replace(r"\{\}", r"\d+") for name in names if name]
        return list(re.finditer("|".join(patterns), text)) if patterns else []

    def read(self, text: str, pictures: Sequence[Picture] = ()) -> tuple[Arrays, Pictures | None]:
        """A text and its pictures as the model takes them. Raises MlxworldError where they do not belong together."""
        places = self._places(text)
        if len(places) != len(pictures):
            raise MlxworldError(f"the text has places for {len(places)} pictures, and there are {len(pictures)}")
        if not pictures:
            return prompt([self._known(self._ids(text))], grids=() if self.config.decoder.rope.sections else None), None
        prepared = self._prepare(pictures)
        filled, end = [], 0
        for place, picture, pieces in zip(places, pictures, prepared.pieces, strict=True):
            before = text[end : place.start()]
            if not before and filled and filled[-1][1] == pieces[0] and isinstance(pieces[0], str):
                pieces = pieces[1:]  # two pictures side by side share the mark between them (idefics)
            filled += [before, *((self._token(picture), n) for n in pieces)]
            end = place.end()
        ids = self._filled([*filled, text[end:]])
        c, seen = self.config, Pictures(prepared.arrays, prepared.layout)
        stands = (-1, c.image_token, c.video_token) if c.image_token >= 0 else (-1, self._token(pictures[0]))
        if "cross" in c.decoder.layers:
            visible = self._visible(prepared, len(pictures))
            return prompt([ids]) | attended([ids], stands[1], visible), seen
        grids = prepared.layout if c.decoder.rope.sections else None
        return prompt([ids], stands, grids, c.merge, c.whole_pictures), seen

    def ids(self, text: str, begins: bool = False) -> list[int]:
        """The ids of what is said, and of what ends it. begins: it stands alone, after nothing."""
        ends = [n for n in (self.tokenizer.id(self.tokenizer.eos or ""), *self.ends[:1]) if n in self.ends]
        return self._known([*self._ids(text, begins), *ends[:1]])

    def _prepare(self, pictures) -> Prepared:
        if all(picture.ndim == 3 for picture in pictures):
            return self.processor(pictures)
        if not hasattr(self.processor, "video"):
            raise MlxworldError("this model takes pictures, no films")
        each = [self.processor.video(x) if x.ndim == 4 else self.processor([x]) for x in pictures]
        patches = np.concatenate([one.arrays["pixels"] for one in each])
        layout = tuple(grid for one in each for grid in one.layout)
        return Prepared({"pixels": patches}, layout, [one.pieces[0] for one in each])

    def _visible(self, prepared, n):
        """Tokens of each picture that are there (pictures, tokens), where pictures are attended to."""
        tower = self.config.vision.tower
        if tower.tiles:
            return np.repeat(prepared.arrays["tile_mask"] > 0, tower.grid**2 + 1, axis=1)
        resampler = self.config.vision.resampler
        return np.ones((n, resampler.latents if resampler else tower.grid**2 + 1), bool)

    def _token(self, picture) -> int:
        """The id that stands for a feature, -1 where no table holds one."""
        c = self.config
        number = c.video_token if picture.ndim == 4 else c.image_token
        return number if number >= 0 or self._mark is None else self.tokenizer.id(self._mark) or -1

    def _filled(self, pieces: Sequence[str | tuple[int, Piece]]) -> list[int]:
        """The ids of texts and features, in one go where features have a token."""
        runs: list[str | list[int]] = [""]
        for piece in pieces:
            if isinstance(piece, tuple):
                number, piece = piece
                name = self.tokenizer.token(number) if number >= 0 else None
                if isinstance(piece, int) and name is None:
                    runs += [[number] * piece, ""]
                    continue
                piece = name * piece if isinstance(piece, int) and name else piece
            runs[-1] = f"{runs[-1]}{piece}"
        ids: list[int] = []
        for i, run in enumerate(runs):
            ids += self._ids(run, begins=i == 0) if isinstance(run, str) else run
        return self._known(ids)

    def _known(self, ids: list[int]) -> list[int]:
        """The ids themselves. Raises MlxworldError for one that no word of the model has."""
        if max(ids, default=0) >= self.words or min(ids, default=0) < -1:
            wrong = next(n for n in ids if n >= self.words or n < -1)
            raise MlxworldError(f"the tokenizer or config.json says id {wrong}, and the model has {self.words} words")
        return ids

    def _ids(self, text: str, begins: bool = True) -> list[int]:
        bos = self.tokenizer.bos
        ids = self.tokenizer.encode(text, special=begins and not (bos and text.startswith(bos)))
        if begins and self._begin and (first := self.tokenizer.id(bos or self.tokenizer.eos or "")) is not None:
            ids = ids if ids[:1] == [first] else [first, *ids]
        return ids


def _ends(folder: Path, published: dict[str, Any], words: tokenizer.Tokenizer) -> tuple[int, ...]:
    """The tokens that end an answer: generation_config.json, config.json, the tokenizer."""
    path = folder / "generation_config.json"
    generation = read_json(path) if path.exists() else {}
    for about in (generation, published, published.get("text_config") or {}):
        ids = about.get("eos_token_id") if isinstance(about, dict) else None
        if ids is not None:
            ids = ids if isinstance(ids, list) else [ids]
            if not all(type(n) is int for n in ids):
                raise MlxworldError(f"{folder}: eos_token_id is {shown(ids)}")
            return tuple(ids)
    number = words.id(words.eos) if words.eos else None
    return () if number is None else (number,)
