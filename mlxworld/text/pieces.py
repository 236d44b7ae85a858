"""Pieces of words for models that are trained here: a small sentencepiece model, taught from the data's own texts or
given as a file.

Its pieces come after the three marks of `bytes.py`, whatever ids the file itself gives to marks of its own, so that any
sentencepiece model fits whose pieces the vocabulary has room for.
"""

import io
from collections.abc import Iterable
from pathlib import Path

from ..errors import MlxworldError
from ..files.reading import read_whole
from .bytes import BOS, EOS, FIRST, PAD, Bytes
from .bytes import SIZE as BYTES
from .tokenizer import Tokenizer, imported

FILE = "tokenizer.model"  # in a run's folder
MOST_BYTES = 64 << 20
LEAST = 300  # pieces: all bytes, which stand in for letters that were never seen, and a few more
LONGEST = 4000  # letters of a sentence that is learnt from


class WordPieces:
    """A sentencepiece model behind three marks: id n + 3 is its piece n."""

    bos: str | None = "<bos>"
    eos: str | None = "<eos>"

    def __init__(self, blob: bytes, source: str):
        """blob: the file. Raises MlxworldError for one that is no sentencepiece model."""
        try:
            self._pieces = imported("sentencepiece").SentencePieceProcessor(model_proto=blob)
        except (RuntimeError, OSError) as error:
            raise MlxworldError(f"{source} is no sentencepiece model") from error
        self.blob, self.size = blob, FIRST + self._pieces.vocab_size()

    def encode(self, text: str, special: bool = False) -> list[int]:
        """Ids of a text; `special`: and its end."""
        return [FIRST + n for n in self._pieces.encode(text)] + ([EOS] if special else [])

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids up to its end; ids that the model has no piece for are left out."""
        known = []
        for number in map(int, ids):
            if number == EOS:
                break
            if FIRST <= number < self.size and not self._pieces.is_control(number - FIRST):
                known.append(number - FIRST)
        return self._pieces.decode(known)

    def id(self, token: str) -> int | None:
        """The id of a mark or a piece."""
        if token in (marks := {"<pad>": PAD, "<bos>": BOS, "<eos>": EOS}):
            return marks[token]
        n = self._pieces.piece_to_id(token)
        return FIRST + n if self._pieces.id_to_piece(n) == token else None

    def token(self, number: int) -> str | None:
        """The mark or piece of an id."""
        if not 0 <= number < self.size:
            return None
        return ("<pad>", "<bos>", "<eos>")[number] if number < FIRST else self._pieces.id_to_piece(number - FIRST)


def teach(texts: Iterable[str], vocabulary: int) -> bytes:
    """A sentencepiece model (unigram, bytes for unseen letters) of texts, for a model of so many ids, marks included:
    fewer pieces where the texts have no use for more. The same texts give the same model.

    Raises MlxworldError where the vocabulary is too small or there is no text.
    """
    if vocabulary < FIRST + LEAST:
        raise MlxworldError(f"a vocabulary of {vocabulary} has no room for pieces: --config.vocab-size {FIRST + LEAST}")
    lines = [line for text in texts for line in text[: 1 << 20].splitlines() if line.strip()]
    if not lines:
        raise MlxworldError("there is no text to teach a tokenizer from")
    trainer, blob = imported("sentencepiece").SentencePieceTrainer, io.BytesIO()
    settings = {"pad_id": -1, "bos_id": -1, "eos_id": -1, "unk_id": 0, "byte_fallback": True, "num_threads": 1}
    settings |= {"hard_vocab_limit": False, "minloglevel": 2, "max_sentence_length": LONGEST}
    try:
        trainer.train(sentence_iterator=iter(lines), model_writer=blob, vocab_size=vocabulary - FIRST, **settings)
    except RuntimeError as error:
        raise MlxworldError(f"no tokenizer can be taught from these texts: {str(error).splitlines()[-1]}") from error
    return blob.getvalue()


def load(path: Path) -> WordPieces:
    """A sentencepiece model's file. Raises MlxworldError for what is none."""
    return WordPieces(read_whole(path, MOST_BYTES, "a tokenizer"), str(path))


def of_run(folder: Path) -> Tokenizer:
    """The tokenizer of a run's folder: bytes where no file lies there."""
    return load(folder / FILE) if (folder / FILE).is_file() else Bytes()


def require_fit(tokenizer: Tokenizer, vocabulary: int, source: str) -> None:
    """Raises MlxworldError unless every id of the tokenizer is one of the model's."""
    size = tokenizer.size if isinstance(tokenizer, WordPieces) else BYTES
    if size > vocabulary:
        raise MlxworldError(f"{source}: its {size} ids do not fit a vocabulary of {vocabulary}: --config.vocab-size")
