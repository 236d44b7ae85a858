"""Text as its UTF-8 bytes: 256 words and three marks, for models that are trained from nothing."""

from collections.abc import Iterable

PAD, BOS, EOS, FIRST = 0, 1, 2, 3  # byte b has the id FIRST + b
SIZE = FIRST + 256


class Bytes:
    bos: str | None = "<bos>"
    eos: str | None = "<eos>"

    def encode(self, text: str, special: bool = False) -> list[int]:
        """Ids of a text; `special`: and its end."""
        return [FIRST + b for b in text.encode()] + ([EOS] if special else [])

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids up to its end; half a character becomes U+FFFD, and an id that is none is left out."""
        text = bytearray()
        for number in ids:
            if number == EOS:
                break
            if FIRST <= number < SIZE:
                text.append(number - FIRST)
        return text.decode(errors="replace")

    def id(self, token: str) -> int | None:
        """The id of a mark, or of a character of one byte."""
        marks = {"<pad>": PAD, "<bos>": BOS, "<eos>": EOS}
        data = token.encode()
        return marks.get(token, FIRST + data[0] if len(data) == 1 else None)

    def token(self, number: int) -> str | None:
        """The mark or byte of an id."""
        marks = ("<pad>", "<bos>", "<eos>")
        if not 0 <= number < SIZE:
            return None
        return marks[number] if number < FIRST else bytes([number - FIRST]).decode("latin-1")
