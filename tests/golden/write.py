"""Writes `numbers.json` and `rollout.npz` anew, where a change of results is meant, from PyTorch:

    python -m tests.golden.write                 # all cases
    python -m tests.golden.write rollout loss    # those whose names hold one of these words

Read the difference before you commit it: every line is a number that somebody's weights or training relied on. The
clips in `pong.npz` stay as they are: frames 0 to 23 and 100 to 123 of `mlxworld record pong --seed 424242`.
"""

import sys

import tests.conftest  # noqa: F401  (float32 on the CPU, as the tests run)

# isort: split
import numpy as np
import torch

import mlxworld
from tests.golden import cases, numbers


def main(words: list[str]) -> None:
    torch.set_num_threads(1)
    written, backend = numbers.load() if words else {}, mlxworld.on("torch")
    for case, fn in cases.CASES.items():
        if words and not any(word in case for word in words):
            continue
        arrays = fn(backend)
        written[case] = {what: numbers.digest(x) for what, x in arrays.items()}
        if case == "pong rollout":
            np.savez_compressed(cases.ROLLOUT, video=arrays["video"])
        print(case)
    numbers.save({case: written[case] for case in cases.CASES})


if __name__ == "__main__":
    main(sys.argv[1:])
