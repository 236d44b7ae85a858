"""The next token of each row from its logits: penalties, then the likeliest, or one by chance. numpy.

B rows, V words.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import MlxworldError


@dataclass(frozen=True)
class Choice:
    """How tokens are chosen. With temperature 0 it is the likeliest."""

    temperature: float = 0.0
    top_k: int = 0  # only of the k likeliest; 0: of all
    top_p: float = 1.0  # only of the fewest whose probabilities reach p (nucleus sampling, Holtzman et al. 2020)
    repetition_penalty: float = 1.0  # of words that are there already (Keskar et al. 2019): above 1 lowers them
    no_repeat_ngram: int = 0  # no n words twice in the same order; 0: no such rule
    seed: int = 0

    def __post_init__(self):
        rules = [
            (self.temperature >= 0 and self.top_k >= 0, "temperature and top_k must not be negative"),
            (self.seed >= 0, "a seed must not be negative"),
            (0 < self.top_p <= 1, "top_p lies in (0, 1]"),
            (self.repetition_penalty > 0 and self.no_repeat_ngram >= 0, "penalties must not be negative"),
        ]
        for holds, message in rules:
            if not holds:
                raise MlxworldError(message)

    @property
    def plain(self) -> bool:
        """Whether this is the likeliest token, whatever was before."""
        return self.temperature == 0 and self.repetition_penalty == 1 and self.no_repeat_ngram == 0


def penalised(scores: np.ndarray, before: list[list[int]], choice: Choice) -> np.ndarray:
    """Scores (B, V), logits or log probabilities, lowered for the words `before` of each row."""
    if choice.repetition_penalty == 1 and choice.no_repeat_ngram == 0:
        return scores
    scores = scores.copy()
    for row, ids in zip(scores, before, strict=True):
        if choice.repetition_penalty != 1:
            words = np.unique([i for i in ids if 0 <= i < len(row)]).astype(int)
            x, p = row[words], choice.repetition_penalty
            row[words] = np.where(x < 0, x * p, x / p)
        if n := choice.no_repeat_ngram:
            last = tuple(ids[len(ids) - n + 1 :])
            banned = [ids[i + n - 1] for i in range(len(ids) - n + 1) if tuple(ids[i : i + n - 1]) == last]
            row[[word for word in banned if 0 <= word < len(row)]] = -np.inf
    return scores


def probabilities(logits: np.ndarray, choice: Choice) -> np.ndarray:
    """Logits (B, V) -> probabilities (B, V) at the temperature, of the words that top_k and top_p leave."""
    x = logits.astype(np.float64) / choice.temperature
    V = x.shape[1]
    if 0 < choice.top_k < V:
        least = np.partition(x, V - choice.top_k, axis=1)[:, V - choice.top_k, None]
        x = np.where(x < least, -np.inf, x)
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    if choice.top_p < 1:
        order = np.argsort(-p, axis=1, kind="stable")
        ordered = np.take_along_axis(p, order, axis=1)
        likely = np.cumsum(ordered, axis=1) - ordered < choice.top_p  # what comes before does not reach p yet
        p = np.where(np.take_along_axis(likely, np.argsort(order, axis=1), axis=1), p, 0.0)
        p /= p.sum(axis=1, keepdims=True)
    return p


def choose(logits: np.ndarray, before: list[list[int]], choice: Choice, random: np.random.Generator) -> np.ndarray:
    """Logits (B, V) and the words before -> the next of each row (B,)."""
    logits = penalised(logits, before, choice)
    if choice.temperature == 0:
        return logits.argmax(axis=1).astype(np.int32)
    reached = np.cumsum(probabilities(logits, choice), axis=1)
    at = random.random(len(logits))[:, None] * reached[:, -1:]
    return (reached <= at).sum(axis=1).clip(0, logits.shape[1] - 1).astype(np.int32)
