"""How well rewards are read: from real pictures against the simulator's own state, and from dreams of what was done.

The second is what a plan lives on: after real frames, a dream takes the very actions that the game took, and its
rewards stand beside those of the real frames that followed. A plan cannot be better than they agree.

T frames.
"""

from collections.abc import Sequence

import numpy as np

from ...data import Step
from ...data.episodes.pixels import Scaler
from ...play.planner import Planner
from ...play.world import World
from .players import Game, watched
from .tasks import Task

DREAMS = 24  # by which dreams are judged


def of_real(task: Task, steps: Sequence[Step]) -> dict[str, float]:
    """Of the frames where there is something to reward: "correlation" of what is read with what is so, and "error", the
    mean absolute difference in pixels of 128."""
    read, exact = task.reward(np.stack([step.video for step in steps])), task.exact(steps)
    known = ~np.isnan(exact)
    return {"frames": float(known.sum()), **agreement(read[known], exact[known])}


def of_dreams(task: Task, world: World, game: Game, horizon: int) -> dict[str, dict[str, float]]:
    """By the frames from the last real one (the last frame of each quarter of the horizon): agreement of the reward of
    a dreamt frame with that of the real frame, "still" that of the last real frame's reward with the same. Over DREAMS
    dreams of actions that were taken, evenly spread over the game."""
    past = world.config.context_frames + world.config.receptive_field
    starts = np.linspace(past, len(game.steps) - horizon, DREAMS).astype(int)
    ends = [int(np.ceil(horizon * (i + 1) / 4)) for i in range(4)]
    real = task.reward(np.stack([step.video for step in game.steps]))
    scaler, clips = Scaler(), []
    for start in starts:
        clips.append(watched([game], range(start - past, start), scaler, world.size))
    planner, each, figures = Planner(world, DREAMS, game.seed), np.arange(DREAMS), {}
    planner.observe(*(np.concatenate(x) for x in zip(*clips, strict=True)))
    dreams = planner.dreams(lambda f: task.reward(f.video), each.tolist(), starts.tolist(), rows=1, hold=1)
    taken = np.array(game.actions)
    rewards = [dreams.decide(each, each if t else None, taken[starts + t]) for t in range(horizon)]
    for end in ends:
        truth = real[starts + end - 1]
        still = agreement(real[starts - 1], truth)
        figures[str(end)] = agreement(rewards[end - 1], truth) | {f"still {n}": x for n, x in still.items()}
    return figures


def agreement(read: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """Correlation, nan where one of them does not change, and mean absolute difference in pixels of 128."""
    steady = len(read) < 2 or read.std() == 0 or exact.std() == 0
    correlation = float("nan") if steady else float(np.corrcoef(read, exact)[0, 1])
    return {"correlation": correlation, "error": 128 * float(np.abs(read - exact).mean())}
