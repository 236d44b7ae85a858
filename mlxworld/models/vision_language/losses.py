"""What a model learns that writes of pictures, or words alone.

B rows, T tokens, A of an answer, M pictures and L features of a row.
"""

from typing import Any

from ... import ops
from ..arrays import Array
from ..objectives.next_token import next_token


def answer_loss(model: Any, batch: dict[str, Array], key: Array | None = None) -> tuple[Array, dict[str, Array]]:
    """The mean cross entropy of answers, and no parts of it.

    batch: what `Decoder.prompt` takes of rows that end with their answers, "ids" (B, T) among it, with "feature" (B, T)
    and "rows" (B, M) numbered in each row from 0; "answer" (B, A), and "counts" (B, A), 1 for what is an answer's, 0
    for what fills it up; "features" (B, L, ...), what the tower makes of each row's pictures.
    """
    prompt, pictures = {name: x for name, x in batch.items() if name not in ("answer", "counts", "features")}, None
    if "features" in batch:
        rows = ops.arange(batch["ids"].shape[0], like=batch["ids"])[:, None] * batch["features"].shape[1]
        pictures = {"features": batch["features"].flatten(0, 1)}
        prompt["feature"] = ops.where(prompt["feature"] < 0, prompt["feature"], prompt["feature"] + rows)
        if "rows" in prompt:
            prompt["rows"] = prompt["rows"] + rows
    logits = model(prompt, pictures, last=batch["answer"].shape[1] + 1)[:, :-1]
    return next_token(logits, batch["answer"], ops.float32(batch["counts"])), {}
