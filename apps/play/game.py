"""The game: what each command of a page does to the world.

Commands come in through `submit` (in order) and `keys.press` (only the latest counts). One method each, named as in
wire.COMMANDS; act, seen and take stay with the network. All of them run on the model thread.
"""

import base64
from typing import Any

import numpy as np

import mlxworld
from mlxworld import MlxworldError

from . import wire
from .action_log import Log, Origin
from .branch import Branch
from .controls import count, meant, number_of
from .model_thread import MAX_BRANCHES, Future, ModelThread, Replay
from .offers import Choice as Choice

REWIND_S = 5.0
WARM_UP = 45
"""Frames that the real game is played for before the dream of it begins."""


class Game(ModelThread):
    """See the head of this file, and of `model_thread.py`."""

    # -- the app's own ------------------------------------------------------------------------------------------------

    def _on_hello(self, command: dict, sender: Any) -> None:
        self._tell_all(sender)
        self._offer(sender)

    def _on_end(self, command: dict, sender: Any) -> None:
        self._stopping = True

    def _on_alone(self, command: dict, sender: Any) -> None:
        """The last page has gone: nobody plays."""
        self._running = False
        self.keys.clear()

    def _on_look(self, command: dict, sender: Any) -> None:
        """Look for new run folders, and whether the present world has been trained on."""
        if self._offers.look():
            self._tell_world()
            self._offer()
        if (version := mlxworld.version(self._choice.world)) not in (0, self._version):
            self._version = version
            self.emit(None, {"type": "fresh", "world": self._choice.world})

    # -- time ---------------------------------------------------------------------------------------------------------

    def _on_run(self, command: dict, sender: Any) -> None:
        self._running = command["on"]
        self._pace.begin()
        self._tell_state()

    def _on_step(self, command: dict, sender: Any) -> None:
        self._running = False
        self._advance()
        self._tell_state()

    def _on_pilot(self, command: dict, sender: Any) -> None:
        self._pilot = mlxworld.agent(self._branch.world, self._branch.position) if command["on"] else None
        self._tell_state()

    def _on_bodies(self, command: dict, sender: Any) -> None:
        self._bodies = command["on"]
        self._tell_bodies()
        self._tell_state()

    def _on_reset(self, command: dict, sender: Any) -> None:
        origin = Origin(command["seed"], command["start"])
        if self._branch.real:
            return self._begin_real(origin)
        self._jump(Branch.begin, self._branch.world, origin)
        self._tell("Started again.", undo=True)

    def _on_rewind(self, command: dict, sender: Any) -> None:
        self._branch.rewind(REWIND_S)
        self._jumped()

    def _on_seek(self, command: dict, sender: Any) -> None:
        self._running = False
        self._branch.seek(command["index"])
        self._jumped()

    def _on_undo(self, command: dict, sender: Any) -> None:
        if not self._undo:
            raise MlxworldError("there is nothing to undo")
        ident, moment = self._undo.pop()
        if ident in self._branches:
            self._active = ident
            self._branch.restore(moment)
        self._jumped()

    # -- moments and branches -----------------------------------------------------------------------------------------

    def _on_save(self, command: dict, sender: Any) -> None:
        self._settle()
        ident = self._new_ident()
        self._shelf.add(ident, self._branch.world, self._branch.moment())
        self._tell_state()
        self._thumb(wire.MOMENT, ident)

    def _on_restore(self, command: dict, sender: Any) -> None:
        moment = self._shelf.get(command["ident"], self._branch.world)
        self._remember()
        self._branch.restore(moment)
        self._jumped()

    def _on_forget(self, command: dict, sender: Any) -> None:
        self._shelf.remove(command["ident"])
        self._tell_state()

    def _on_fork(self, command: dict, sender: Any) -> None:
        self._require_room()
        self._settle()
        left, fork, ident = self._active, self._branch.fork(), self._new_ident()
        self._branches[ident] = fork
        self._active = ident
        self._jumped()
        self._thumb(wire.BRANCH, left)
        self._thumb(wire.BRANCH, ident)

    def _on_switch(self, command: dict, sender: Any) -> None:
        self._require_branch(command["ident"])
        left, self._active = self._active, command["ident"]
        self._jumped()
        self._thumb(wire.BRANCH, left)

    def _on_close(self, command: dict, sender: Any) -> None:
        self._require_branch(command["ident"])
        if command["ident"] == self._active:
            raise MlxworldError("this branch is the one being played: switch to another one first")
        if real := self._branches.pop(command["ident"]).real:
            real.close()
        self._tell_state()

    # -- beside: the real game, a second future -----------------------------------------------------------------------

    def _on_beside(self, command: dict, sender: Any) -> None:
        self._settle()
        origin, what = self._branch.origin, command["what"]
        if what == "real":
            return self._begin_real(origin)
        self._part()
        if what == "future":
            fork = self._branch.fork()
            self._future = Future(fork, mlxworld.agent(fork.world, fork.position))
        self._jumped()

    def _on_sync(self, command: dict, sender: Any) -> None:
        self._settle()
        if not (real := self._branch.real):
            raise MlxworldError("no real game plays beside this dream")
        self._jump_from_real(real, self._branch.origin)

    def _on_swap(self, command: dict, sender: Any) -> None:
        if not self._future:
            raise MlxworldError("there is no second future")
        self._settle()
        self._branches[self._active], self._future.branch = self._future.branch, self._branch
        self._jumped()

    def _begin_real(self, origin: Origin) -> None:
        """Play the real game for a moment, then dream on from what was seen, with the real game beside."""
        real = self._branch.real or mlxworld.Real.beside(self._branch.world)
        frame, agent = real.reset(origin.seed), mlxworld.agent(self._branch.world, origin.seed)
        for _ in range(WARM_UP):
            frame = real.step(meant(self._branch.world, number_of(self._branch.world, agent.act(frame))))
        self._jump_from_real(real, origin)

    def _jump_from_real(self, real: "mlxworld.Real", origin: Origin) -> None:
        clip, untold = real.clip(), "it began from the real game"
        beside = mlxworld.Frame(clip.video[-1], clip.audio[-1], 0, 0.0)
        self._future = None
        self._jump(Branch.seen, self._branch.world, clip, Origin(origin.seed, origin.start, untold), real, beside)

    # -- pictures of people -------------------------------------------------------------------------------------------

    def _on_picture(self, command: dict, sender: Any) -> None:
        """One picture without a past: the world takes what it sees, and a painted ball is as good as its own."""
        picture, origin = self._picture(command["picture"]), self._branch.origin
        self._part()
        self._jump(Branch.seen, self._branch.world, picture, Origin(origin.seed, None, "it began from a picture"))
        self._tell("The dream goes on from your picture.", undo=True)

    def _picture(self, text: str) -> np.ndarray:
        """The picture (H, W, 3) of a command. Raises BadMessage for one that has not the world's size."""
        height, width = self._branch.world.size
        pixels = base64.b64decode(text)
        if len(pixels) != height * width * 3:
            raise wire.BadMessage(f"a picture for this world has {height} x {width} pixels of three bytes")
        return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)

    # -- worlds, logs, films ------------------------------------------------------------------------------------------

    def _on_load(self, command: dict, sender: Any) -> None:
        choice = Choice(command["world"], command["backend"], command["steps"], command["precision"])
        origin = self._branch.origin
        undo = origin.start is None and origin.untold is None
        self._open(self._offers.check(choice), origin if undo else Origin(7, None))
        self._tell_all()

    def _on_log(self, command: dict, sender: Any) -> None:
        self.emit(sender, {"type": "log", "log": self._branch.log(self._world_digest())})

    def _on_film(self, command: dict, sender: Any) -> None:
        self.films.clip(command["seconds"], sender)

    def _on_record(self, command: dict, sender: Any) -> None:
        self.films.record(command["on"])
        self._tell_state()

    def _on_replay(self, command: dict, sender: Any) -> None:
        log = Log.read(command["log"])
        self._part()
        self._pilot = None
        self._begin_as(log)
        w = self._branch.world
        fits = tuple(w.actions) == log.action_names and max(log.actions, default=0) < count(w)
        self._replay, self._running = (Replay(log), True) if fits else (None, False)
        self._tell_all()
        if not fits:
            raise MlxworldError("the action log was made with another set of actions than this world has")
        if not log.actions:
            self._end_replay()

    def _on_stop(self, command: dict, sender: Any) -> None:
        self._replay = None
        self._tell_state()

    # -- what they share ----------------------------------------------------------------------------------------------

    def _remember(self) -> None:
        """The present, for `undo`."""
        self._undo.append((self._active, self._branch.latest()))

    def _jump(self, begin: Any, *args: Any) -> None:
        """Put another beginning in the place of the present branch. On failure the present one stays."""
        moment, position = self._branch.latest(), self._branch.position
        try:
            branch = begin(*args)
        except BaseException:
            self._branch.restore(moment)
            self._branch.seek(position)
            raise
        self._undo.append((self._active, moment))
        self._branches[self._active] = branch
        self._jumped()

    def _jumped(self) -> None:
        """The present no longer follows from the frame shown last."""
        self._replay = None
        self._show()
        self._tell_state()

    def _require_room(self) -> None:
        if len(self._branches) >= MAX_BRANCHES:
            raise MlxworldError(f"at most {MAX_BRANCHES} branches live at once: close one first")

    def _require_branch(self, ident: int) -> None:
        if ident not in self._branches:
            raise MlxworldError("this branch is no longer kept")

    def _begin_as(self, log: Log) -> None:
        """Begin the world of an action log with its settings: the one with its digest, whatever it is called here.

        An old log has no digest and is matched by name. Raises MlxworldError where no such world is offered.
        """
        present = self._choice.world
        called = self._offers.called(log.world)
        same = self._world_digest() == log.world_digest if log.world_digest else False
        names = sorted(called, key=lambda name: name != present)
        if same and present not in names:
            names.append(present)
        if not names:
            self._offers.check(Choice(log.world))
        failure: MlxworldError | None = None
        for name in names:
            try:
                return self._begin_named(name, log)
            except MlxworldError as error:
                failure = failure or error
        assert failure is not None
        raise failure

    def _begin_named(self, name: str, log: Log) -> None:
        w = self._branch.world
        choice = self._offers.check(Choice(name, log.backend, log.steps, log.precision))
        settled = (w.backend, w.steps, w.precision) == (log.backend, log.steps, log.precision)
        if name == self._choice.world and settled and log.world_digest in (None, self._world_digest()):
            self._jump(Branch.begin, w, log.origin)
        else:
            self._open(choice, log.origin, log.world_digest)
