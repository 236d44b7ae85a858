"""What latents are worth: how many directions they use, and whether those of one thing lie together."""

import itertools

import numpy as np

from .told import recall_at_1


def effective_rank(x: np.ndarray) -> float:
    """exp of the entropy of the singular values of rows x (N, C) around their mean (Roy & Vetterli 2007): 1 where they
    differ in one direction alone, at most min(N - 1, C). 0 where they differ by no more than float32 rounds."""
    s = np.linalg.svd(x - x.mean(0), compute_uv=False)
    if s.sum() <= 1e-5 * np.linalg.norm(x):
        return 0.0
    p = s / s.sum()
    p = p[p > 1e-12]
    return float(np.exp(-(p * np.log(p)).sum()))


def alignment(latents: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """{"a - b": ...} of every two modalities' latents (N, C), whose rows belong together: recall at 1 and its chance;
    the mean cosine of what belongs together less that of what does not."""
    figures = {}
    for a, b in itertools.combinations(latents, 2):
        x, y = (z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-9) for z in (latents[a], latents[b]))
        cosines, n = x @ y.T, len(x)
        own = float(np.diag(cosines).mean())
        other = float((cosines.sum() - np.diag(cosines).sum()) / max(1, n * (n - 1)))
        recall = recall_at_1(latents[a], latents[b])
        figures[f"{a} - {b}"] = {"recall at 1": recall, "chance": 1 / n, "nearer than others": own - other}
    return figures
