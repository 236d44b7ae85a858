"""Tokenizers of published models: tokenizer.json, or a sentencepiece model with the tokens that were added to it.

Texts are split at special tokens before anything else, so that "<image>" in a prompt is one id.
"""

import importlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from ..errors import MlxworldError
from ..files.reading import read_json, shown

MOST_BYTES = 256 << 20  # of a tokenizer's file
UNFINISHED = "\ufffd"  # what the bytes of half a character are decoded as


class Tokenizer(Protocol):
    bos: str | None  # the token before a text, and those around what people and models say
    eos: str | None

    def encode(self, text: str, special: bool = False) -> list[int]:
        """Ids of a text, special tokens in it included; `special`: and what the tokenizer puts around one."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, without special tokens."""
        ...

    def id(self, token: str) -> int | None:
        """The id of a token; None where there is no such."""
        ...

    def token(self, number: int) -> str | None:
        """The token of an id."""
        ...


def load(folder: str | Path) -> Tokenizer:
    """The tokenizer of a model's folder. Raises MlxworldError where there is none, or the package that reads it."""
    folder = Path(folder)
    path = folder / "tokenizer_config.json"
    about = read_json(path, MOST_BYTES) if path.exists() else {}
    if not isinstance(about, dict):
        raise MlxworldError(f"{path} holds no settings, but {shown(about)}")
    for name, kind in (("tokenizer.json", Fast), ("tokenizer.model", Pieces)):
        if (folder / name).exists():
            try:
                return kind(folder / name, about)
            except (TypeError, ValueError, AttributeError) as error:
                raise MlxworldError(
                    f"{folder}: its tokenizer's settings cannot be read: {shown(str(error))}"
                ) from error
    raise MlxworldError(f"{folder} has no tokenizer: neither tokenizer.json nor tokenizer.model")


class Fast:
    """A tokenizer.json, read by the package tokenizers."""

    def __init__(self, path: Path, about: dict[str, Any]):
        package = imported("tokenizers")
        try:
            self._tokenizer = package.Tokenizer.from_file(str(path))
        except Exception as error:  # the package raises Exception itself
            raise MlxworldError(f"{path} is no tokenizer that is read: {str(error).splitlines()[0]}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.bos, self.eos = _name(about.get("bos_token")), _name(about.get("eos_token"))
        self._begins = about.get("add_bos_token")  # None: as the file has it

    def encode(self, text: str, special: bool = False) -> list[int]:
        ids = self._tokenizer.encode(text, add_special_tokens=special).ids
        first = self.id(self.bos) if self.bos else None
        return [first, *ids] if special and self._begins and first is not None and ids[:1] != [first] else ids

    def decode(self, ids: Iterable[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    def id(self, token: str) -> int | None:
        return self._tokenizer.token_to_id(token)

    def token(self, number: int) -> str | None:
        return self._tokenizer.id_to_token(number)


class Pieces:
    """A sentencepiece model; added tokens are in tokenizer_config.json or added_tokens.json."""

    def __init__(self, path: Path, about: dict[str, Any]):
        package = imported("sentencepiece")
        try:
            self._pieces = package.SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError) as error:
            raise MlxworldError(f"{path} is no sentencepiece model") from error
        added = path.with_name("added_tokens.json")
        ids = dict(read_json(added)) if added.exists() else {}
        ids |= {_name(x): int(n) for n, x in (about.get("added_tokens_decoder") or {}).items()}
        for n in (self._pieces.bos_id(), self._pieces.eos_id(), self._pieces.pad_id()):
            ids |= {self._pieces.id_to_piece(n): n} if n >= 0 else {}
        self._ids, self._tokens = ids, {n: token for token, n in ids.items()}
        longest_first = sorted(map(re.escape, filter(None, ids)), key=len, reverse=True)
        self._split = re.compile(f"({'|'.join(longest_first)})") if longest_first else None
        self.bos = _name(about.get("bos_token")) or self.token(self._pieces.bos_id())
        self.eos = _name(about.get("eos_token")) or self.token(self._pieces.eos_id())
        self._begins = about.get("add_bos_token", True)

    def encode(self, text: str, special: bool = False) -> list[int]:
        first = [self._pieces.bos_id()] if special and self._begins and self._pieces.bos_id() >= 0 else []
        parts = self._split.split(text) if self._split else [text]
        for part in filter(None, parts):
            first += [self._ids[part]] if part in self._ids else self._pieces.encode(part)
        return first

    def decode(self, ids: Iterable[int]) -> str:
        return self._pieces.decode([n for n in ids if n not in self._tokens and n < self._pieces.vocab_size()])

    def id(self, token: str) -> int | None:
        if token in self._ids:
            return self._ids[token]
        n = self._pieces.piece_to_id(token)
        return n if self._pieces.id_to_piece(n) == token else None

    def token(self, number: int) -> str | None:
        known = 0 <= number < self._pieces.vocab_size()
        return self._tokens.get(number) or (self._pieces.id_to_piece(number) if known else None)


class Stream:
    """Text of ids that come one after another: what each adds, whole characters only."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer, self._ids, self._shown = tokenizer, [], ""

    def end(self) -> str:
        """What was held back: half a character, or what looks like one."""
        return self._tokenizer.decode(self._ids)[len(self._shown) :]

    def add(self, number: int) -> str:
        """What can be read since the last call."""
        self._ids.append(number)
        text = self._tokenizer.decode(self._ids)
        if text.endswith(UNFINISHED):
            return ""
        new, self._shown = text[len(self._shown) :], text
        if len(self._ids) > 32 and new:  # a new beginning, or long texts would be decoded again and again
            self._ids = self._ids[-8:]
            self._shown = self._tokenizer.decode(self._ids)
        return new


def _name(token: Any) -> str | None:
    """A token's text, of configurations that give it alone or among its settings."""
    name = token.get("content") if isinstance(token, dict) else token
    if name is not None and not isinstance(name, str):
        raise ValueError(f"{name!r} is no token")
    return name


def imported(name: str) -> Any:
    """A package that reads tokenizers. Raises MlxworldError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MlxworldError(f'this tokenizer needs {name}: pip install "mlxworld[language]"') from error
