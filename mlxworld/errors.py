"""What a person can put right: one line that says what is wrong and what to do. Entry points exit with code 2."""


class MlxworldError(Exception):
    """Bad input, a missing package or a broken file: `str(error)` is one line, fit to be shown as it is."""


def require_alike(present: list, other: list) -> None:
    """Raises MlxworldError unless two states have the same arrays, each a (shape, dtype)."""
    if present != other:
        raise MlxworldError("this state is of another model, batch or precision: it does not fit here")


def one_line(text: str) -> str:
    """The text on one line, what cannot be printed written as its code: names of files may hold anything."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(text.splitlines()))
