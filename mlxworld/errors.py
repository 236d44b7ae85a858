"""What a person can put right: one line that says what is wrong and what to do. Entry points exit with code 2."""


class MlxworldError(Exception):
    """Bad input, a missing package or a broken file: `str(error)` is one line, fit to be shown as it is."""
