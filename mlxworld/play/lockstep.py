"""Many worlds of one model that take their steps together, in one batch of a fixed size: one compiled step for all.

Worlds may begin at different frames, be copied over one another, and all go on from one world's moment. Which axis of
an array of the state counts worlds is found by comparing the states of two and of three.

N worlds, H, W pixels, S samples of a frame, K latent tokens of width D.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .player import Player


class Lockstep:
    """Begun by `begin` or `branch`; then `observe` and `step`, or `dream` and what is to be seen or heard of it.

    fixed: whether there must be N worlds at any time, since a step of so many was compiled or recorded. If not,
    `branch` and `choose` may make them fewer or more, and N is how many there are after `begin`.
    """

    def __init__(self, player: Player, model: Any, n: int, compiled: str = "step"):
        """player: whose model and options these worlds share; its own state is left alone. compiled: `step` or `dream`,
        whichever is taken often."""
        self.n, self.model, self.package, self._player = n, model, player.package, player
        few, more = (self.model.init_state(count) for count in (2, 3))
        self._axes = tree_map(_axis_of_worlds, few, more)
        self._space = model.cfg.action_space
        self.fixed = player.compiled or player.device != "cpu"
        self._compiled = compiled if player.compiled else None
        self._loop = self._begun()

    def _begun(self):
        functions = {"step": self._step, "observe": self._observe, "choose": self._choose, "anew": self._anew}
        functions |= {"dream": self._dream, "picture": self._picture, "sound": self._sound, "whole": self._whole}
        return self.package.engine.Loop(functions, compile=self._compiled)

    def begin(self) -> None:
        """No frames yet, in all worlds."""
        with self.package.engine.inference():
            self._loop.begin(self.model.init_state(self.n))

    def branch(self, moments: Any, rows: np.ndarray) -> None:
        """World i goes on from moment rows[i] of these, which `moment` gives, or `whole` of another lockstep."""
        if not self.fixed:
            self._loop = self._begun()  # which takes any number of worlds
        with self.package.engine.inference():
            self._loop.begin(self._rows(moments, self.package.engine.array(rows.astype(np.int32))))

    def moment(self) -> Any:
        """The player's present moment, the only one of a batch of 1."""
        return self._player.whole()["model"]

    def whole(self, rows: np.ndarray) -> Any:
        """The present moments of these worlds, which later steps leave alone."""
        engine = self.package.engine
        with engine.inference():
            return self._rows(engine.copy(self._loop("whole")), engine.array(rows.astype(np.int32)))

    def observe(self, z: np.ndarray, noise: np.ndarray, actions: np.ndarray) -> None:
        """A frame that happened in each: z, noise (N, K, D) float32, actions (N,) or (N, A)."""
        self._run("observe", z[:, None], noise[:, None], self._given(actions))

    def dream(self, actions: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """The latents z (N, K, D) of the next frame of each, as in `step`: nothing is decoded, and sound stays where it
        was until `sound` takes it on."""
        z = self._run("dream", noise[:, None].astype(np.float32), self._given(actions))
        return self.package.engine.numpy(z)[:, 0].astype(np.float32)

    def picture(self, z: np.ndarray) -> np.ndarray:
        """The pictures (N, H, W, 3) uint8 of latents z (N, K, D)."""
        return self.package.engine.numpy(self._run("picture", z[:, None]))[:, 0]

    def sound(self, z: np.ndarray) -> np.ndarray:
        """The sound (N, S) float32 of latents z (N, K, D), those of the frame after the last that was heard."""
        return self.package.engine.numpy(self._run("sound", z[:, None]))[:, 0].astype(np.float32)

    def step(self, actions: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The next frame of each, after actions (N,) or (N, A) and noise (N or 1, K, D): video (N, H, W, 3) uint8,
        audio (N, S), z (N, K, D)."""
        noise = np.broadcast_to(noise, (self.n, *noise.shape[1:]))[:, None].astype(np.float32)
        outputs = self._run("step", noise, self._given(actions))
        video, audio, z = (x[:, 0] for x in self.package.engine.numpy(outputs))
        return video, audio.astype(np.float32), z.astype(np.float32)

    def _given(self, actions: np.ndarray) -> np.ndarray:
        """Actions of one frame, (N, 1) or (N, 1, A); of buttons and axes indices become rows."""
        if self._space.shape and actions.ndim == 1:
            actions = np.stack([self._space.encode(int(index)) for index in actions])
        return actions[:, None].astype(self._space.dtype)

    def choose(self, rows: np.ndarray) -> None:
        """World i is from now on what world rows[i] is."""
        self._run("choose", rows.astype(np.int32))

    def anew(self, begins: np.ndarray) -> None:
        """Worlds where begins (N,) is true have no past any more; the others do not notice."""
        self._run("anew", begins.astype(np.int32))

    def _run(self, name: str, *inputs: np.ndarray) -> Any:
        engine = self.package.engine
        with engine.inference():
            return self._loop(name, *engine.array(inputs))

    def _step(self, state, noise, action):
        video, audio, z, state = self.model.step(state, self._player.tempered(noise), action)
        return (self.package.ops.uint8(video * 255), audio, z), state

    def _observe(self, state, z, noise, action):
        audio, sound = self.model.decode_audio(z, state["sound"])  # and no picture
        past = self.model.observe_latent(state["past"], z, self._player.tempered(noise), action)
        return audio, {"past": past, "sound": sound}

    def _dream(self, state, noise, action):
        z, past = self.model.step_latent(state["past"], self._player.tempered(noise), action)
        return z, state | {"past": past}

    def _picture(self, state, z):
        return self.package.ops.uint8(self.model.decode_video(z) * 255), state

    def _sound(self, state, z):
        audio, sound = self.model.decode_audio(z, state["sound"])
        return audio, state | {"sound": sound}

    def _whole(self, state):
        return state, state

    def _choose(self, state, rows):
        return rows * 1, self._rows(state, rows)

    def _anew(self, state, begins):
        fresh, ops = self.model.init_state(self.n), self.package.ops

        def chosen(x, new, axis):
            if axis is None:
                return x
            shape = [1] * x.ndim
            shape[axis] = self.n
            return ops.where(begins.reshape(shape) > 0, new, x)

        return begins * 1, tree_map(chosen, state, fresh, self._axes)

    def _rows(self, state, rows):
        take = self.package.ops.take
        return tree_map(lambda x, axis: x * 1 if axis is None else take(x, rows, axis), state, self._axes)


def tree_map(fn: Callable, tree: Any, *more: Any) -> Any:
    """`fn` of the leaves of trees of dicts, lists and tuples, which are built alike."""
    if isinstance(tree, dict):
        return {name: tree_map(fn, x, *(t[name] for t in more)) for name, x in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(tree_map(fn, *items) for items in zip(tree, *more, strict=True))
    return fn(tree, *more)


def _axis_of_worlds(few: Any, more: Any) -> int | None:
    """The axis that is 2 long for two worlds and 3 for three; None of what worlds share."""
    differ = [i for i, (a, b) in enumerate(zip(few.shape, more.shape, strict=True)) if a != b]
    assert len(differ) <= 1
    return differ[0] if differ else None
