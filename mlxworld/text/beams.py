"""Beam search: the K likeliest continuations of each row are followed side by side. numpy; knows no model.

B rows, K beams of a row, V words.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import MlxworldError

_NEVER = -1e9


@dataclass(frozen=True)
class BeamConfig:
    beams: int = 1
    length_penalty: float = 1.0  # sums of log probabilities are divided by length ** penalty
    gnmt: bool = False  # or by ((5 + length) / 6) ** penalty (Wu et al. 2016)
    early: bool = False  # end as soon as K have ended, likely or not

    def __post_init__(self):
        if self.beams < 1:
            raise MlxworldError("beams must be at least 1")
        if not -10 <= self.length_penalty <= 10:
            raise MlxworldError("length_penalty lies in -10 .. 10")

    def normal(self, scores: np.ndarray, length: int) -> np.ndarray:
        """Sums of log probabilities of so many tokens, as they are compared with those of others."""
        return scores / ((5 + length) / 6 if self.gnmt else length) ** self.length_penalty


class Beams:
    """The state of a search: `advance` takes log probabilities, and says which beams go on with which tokens."""

    def __init__(self, cfg: BeamConfig, rows: int, ends: tuple[int, ...], most: int):
        """rows: B. ends: tokens that end a continuation. most: tokens of one."""
        self.cfg, self.ends, self.most, self.done = cfg, ends, most, False
        self.tokens: list[list[list[int]]] = [[[] for _ in range(cfg.beams)] for _ in range(rows)]
        self.scores = np.full((rows, cfg.beams), _NEVER)
        self.scores[:, 0] = 0.0  # all beams of a row are alike at first: only one counts
        self._ended: list[list[tuple[float, list[int]]]] = [[] for _ in range(rows)]  # best first, K at most
        self._open = np.ones(rows, bool)  # rows in which a continuation may still come among the best

    def advance(self, log_probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B * K, V) -> beams (B * K,) to go on with, by their numbers in the batch, and the next token of each."""
        B, K, V = len(self.tokens), self.cfg.beams, log_probabilities.shape[1]
        total = (self.scores[..., None] + log_probabilities.reshape(B, K, V)).reshape(B, K * V)
        n = max(2, 1 + len(self.ends)) * K  # so that K go on even where every likeliest token is an end
        best = np.argsort(-total, axis=1, kind="stable")[:, :n]
        length = len(self.tokens[0][0]) + 1
        parents, chosen = np.zeros((B, K), int), np.zeros((B, K), int)
        for b in range(B):
            ranked = [(total[b, i], i // V, int(i % V)) for i in best[b]]
            ending = [token in self.ends or length == self.most for _, _, token in ranked]
            on = [x for x, ends in zip(ranked, ending, strict=True) if not ends]
            on = (on + [(_NEVER, beam, token) for _, beam, token in ranked])[:K]
            new = [
                (float(self.cfg.normal(score, length)), [*self.tokens[b][beam], token])
                for (score, beam, token), ends in zip(ranked[:K], ending[:K], strict=True)
                if ends and self._open[b] and not (self.cfg.early and len(self._ended[b]) == K)
            ]
            self._ended[b] = sorted(self._ended[b] + new, key=lambda x: -x[0])[:K]
            self.scores[b] = [score for score, _, _ in on]
            parents[b], chosen[b] = [beam for _, beam, _ in on], [token for _, _, token in on]
            self.tokens[b] = [[*self.tokens[b][beam], token] for _, beam, token in on]
            worst = self._ended[b][-1][0] if len(self._ended[b]) == K else _NEVER
            self._open[b] &= self.cfg.normal(self.scores[b].max(), length) > worst
        full = all(len(ended) == K for ended in self._ended)
        self.done = length == self.most or not self._open.any() or (self.cfg.early and full)
        return (parents + K * np.arange(B)[:, None]).reshape(-1), chosen.reshape(-1).astype(np.int32)

    def best(self) -> list[list[tuple[float, list[int]]]]:
        """Of each row the continuations that have ended, with their scores, best first."""
        return self._ended
