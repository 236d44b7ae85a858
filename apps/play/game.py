"""The game: the one thread that owns the world. It loads, steps and answers commands, and knows nothing of the network.

Commands come in through `submit` (in order) and `press` (only the latest counts); everything that others should know
goes out through `emit(target, message)`: a dict for JSON, bytes for a packed frame; target None means everyone.
"""

import logging
import queue
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import mlxworld
from mlxworld import MlxworldError

from . import wire
from .action_log import MAX_ACTIONS, Log, Origin, digest
from .branch import Branch, Moment
from .inbox import Inbox
from .keys import Keys
from .offers import Choice, Offers
from .wire import BadMessage

LOG = logging.getLogger(__name__)
MAX_MOMENTS = 8
MAX_BRANCHES = 4
REWIND_S = 5.0


@dataclass
class Replay:
    """A log being played again: `done` of its actions have been used."""

    log: Log
    done: int = 0


class Game:
    """See the head of this file. `start` blocks until the first world is loaded; `stop` ends the thread."""

    def __init__(self, load: Callable[..., "mlxworld.World"], worlds: list[str], backends: list[str], choice: Choice):
        self.emit: Callable[[Any, dict | bytes], object] = lambda target, message: None
        self.keys = Keys()
        self._load, self._choice = load, choice
        self._offers = Offers(worlds, backends, choice)
        self._inbox = Inbox()
        self._thread = threading.Thread(target=self._live, name="model", daemon=True)
        self._ready: queue.Queue[BaseException | None] = queue.Queue()
        self._stopping = False
        self._running = False
        self._replay: Replay | None = None
        self._serial = 0
        self._ident = 0
        self._opened = 0
        self._period = 0.0
        self._digest: str | None = None
        self._moments: dict[int, Moment] = {}
        self._branches: dict[int, Branch] = {}
        self._active = 0

    def start(self) -> None:
        """Load the first world on the model thread. Raises what loading raised."""
        self._thread.start()
        if (error := self._ready.get()) is not None:
            raise error

    def stop(self) -> None:
        """End the model thread after its present frame."""
        self._inbox.put({"type": "end"}, None, bounded=False)
        self._thread.join(timeout=10)

    def submit(self, command: dict[str, Any], sender: Any = None) -> bool:
        """Queue a command that `wire.parse` has checked; False when too many wait already (as while a world loads)."""
        return self._inbox.put(command, sender, bounded=command["type"] in wire.COMMANDS)

    def forget(self, sender: Any) -> None:
        """A page has gone: what it waited for is not made any more."""
        self._inbox.forget(sender)

    # -- the model thread ---------------------------------------------------------------------------------------------

    @property
    def _branch(self) -> Branch:
        return self._branches[self._active]

    def _live(self) -> None:
        try:
            self._open(self._choice, Origin(7, None))
        except BaseException as error:
            self._ready.put(error)
            return
        self._ready.put(None)
        due = perf_counter()
        while not self._stopping:
            entry = self._inbox.get(timeout=max(0.0, due - perf_counter()) if self._running else None)
            if entry is None:
                self._guard(self._advance_or_pause, None)
                due = self._next(due)
            else:
                command, sender = entry
                was = self._running
                self._guard(lambda c=command, s=sender: getattr(self, f"_on_{c['type']}")(c, s), sender)
                due = due if was and self._running else perf_counter()

    def _next(self, due: float) -> float:
        """When the next frame is due: at the world's own rate, without bursts to catch up when the model is slow."""
        late = perf_counter() - due
        return due + self._period if late < 2 * self._period else due + late

    def _guard(self, act: Callable[[], None], sender: Any) -> None:
        """Run one command or step; whatever fails is told in one line, and the thread lives on."""
        try:
            act()
        except (MlxworldError, BadMessage) as error:
            message = wire.error(error)
            if message["text"] != str(error):
                LOG.warning("%s", wire.printable(str(error)))
            self.emit(sender, message)
            self._recover(sender)
            self._recover(sender, self._tell_state)
        except BaseException as error:  # a world may raise anything, SystemExit too
            LOG.error("the world failed\n%s", wire.printable(traceback.format_exc()))
            self._running, self._replay = False, None
            self.emit(None, wire.error(f"the world failed and is paused: {wire.one_line(error)}"))
            self._recover(None)
            self._recover(None, self._tell_state)

    def _recover(self, target: Any, tell: Callable[[Any], None] | None = None) -> None:
        """Tell pages what is true, as far as the world still says it."""
        try:
            (tell or self._tell_world)(target)
        except BaseException:
            LOG.error("the world cannot be described\n%s", wire.printable(traceback.format_exc()))

    def _advance_or_pause(self) -> None:
        """The next frame of a running world; one that cannot be made is not tried again and again."""
        try:
            self._advance()
        except BaseException:
            self._running, self._replay = False, None
            raise

    def _advance(self) -> None:
        action, key = self.keys.read()
        flags = 0
        if replay := self._replay:
            action, flags = replay.log.actions[replay.done], wire.REPLAYED
            replay.done += 1
        elif len(self._branch.actions) >= MAX_ACTIONS:
            raise MlxworldError("the action log is full: restart the world to play on")
        self._branch.step(action)
        self._show(flags=flags, action=action, key=key)
        if replay and replay.done == len(replay.log.actions):
            self._end_replay()

    def _show(self, target: Any = None, flags: int = wire.CUT, action: int = 0, key: float | None = None) -> None:
        self._serial += target is None
        fps = self._branch.world.fps
        shape = {"flags": flags, "action": action, "serial": self._serial, "key": key}
        self.emit(target, wire.pack(self._branch.frame, fps, **shape))

    def _thumb(self, kind: int, ident: int, target: Any = None) -> None:
        shown = self._moments[ident] if kind == wire.MOMENT else self._branches[ident]
        self.emit(target, wire.pack(shown.frame, self._branch.world.fps, kind=kind, ident=ident))

    def _open(self, choice: Choice, origin: Origin, world_digest: str | None = None) -> None:
        """Load a world and begin it; on failure, and where its digest is not the one asked for, the present one stays.

        Raises MlxworldError, or what the world raised.
        """
        self.emit(None, {"type": "loading", "world": choice.world})
        settings = {"backend": choice.backend, "steps": choice.steps, "precision": choice.precision}
        try:
            world = self._load(choice.world, **settings)
            if world_digest is not None and world.digest != world_digest:
                raise MlxworldError(f"the action log was made with other weights than {world.name} has")
            branch, period = Branch.begin(world, origin), 1 / world.fps
            self._offers.loaded(choice, world)
            self.keys.clear(len(world.actions))
        except BaseException:
            if self._branches:
                self._recover(None)  # no page waits for a world that does not come
            raise
        self._choice, self._replay, self._period, self._digest = choice, None, period, world_digest
        self._opened += 1
        self._moments.clear()
        self._active = self._new_ident()
        self._branches = {self._active: branch}

    def _new_ident(self) -> int:
        self._ident += 1
        return self._ident

    def _tell_world(self, target: Any = None) -> None:
        w, name = self._branch.world, self._choice.world
        about = {"name": w.name, "actions": list(w.actions), "keys": w.keys, "fps": w.fps, "starts": w.starts}
        sound = {"sample_rate": w.sample_rate, "samples": w.samples, "size": list(w.size)}
        chosen = {"backend": w.backend, "device": w.device, "precision": w.precision, "steps": w.steps}
        place = {"world": name, "opened": self._opened, "offered": self._offers.of(w)}
        self.emit(target, {"type": "world", **place, **about, **sound, **chosen})

    def _tell_state(self, target: Any = None) -> None:
        branch, replay = self._branch, self._replay
        story = {"seed": branch.origin.seed, "start": branch.origin.start}
        shelf = {"moments": [{"ident": i, "index": m.frame.index} for i, m in self._moments.items()]}
        lives = {"branches": [{"ident": i, "index": b.frame.index} for i, b in self._branches.items()]}
        room = {"max_moments": MAX_MOMENTS, "max_branches": MAX_BRANCHES, "active": self._active}
        progress = [replay.done, len(replay.log.actions)] if replay else None
        state = {"running": self._running, "replay": progress, **story, **shelf, **lives, **room}
        self.emit(target, {"type": "state", **state})

    def _tell_all(self, target: Any = None) -> None:
        self._tell_world(target)
        self._tell_state(target)
        self._show(target)
        for ident in self._moments:
            self._thumb(wire.MOMENT, ident, target)
        for ident in self._branches:
            self._thumb(wire.BRANCH, ident, target)

    def _jumped(self) -> None:
        """The present no longer follows from the frame shown last."""
        self._replay = None
        self._show()
        self._tell_state()

    # -- commands: one method each, named as in wire.COMMANDS (act, seen and take stay with the network) --------------

    def _on_hello(self, command: dict, sender: Any) -> None:
        self._tell_all(sender)

    def _on_end(self, command: dict, sender: Any) -> None:
        self._stopping = True

    def _on_alone(self, command: dict, sender: Any) -> None:
        """The last page has gone: nobody plays."""
        self._running = False
        self.keys.clear()

    def _on_run(self, command: dict, sender: Any) -> None:
        self._running = command["on"]
        self._tell_state()

    def _on_step(self, command: dict, sender: Any) -> None:
        self._running = False
        self._advance()
        self._tell_state()

    def _on_reset(self, command: dict, sender: Any) -> None:
        origin = Origin(command["seed"], command["start"])
        self._branches[self._active] = Branch.begin(self._branch.world, origin)
        self._jumped()

    def _on_rewind(self, command: dict, sender: Any) -> None:
        self._branch.rewind(REWIND_S)
        self._jumped()

    def _on_save(self, command: dict, sender: Any) -> None:
        if len(self._moments) >= MAX_MOMENTS:
            raise MlxworldError(f"at most {MAX_MOMENTS} moments are kept: delete one first")
        ident = self._new_ident()
        self._moments[ident] = self._branch.moment()
        self._tell_state()
        self._thumb(wire.MOMENT, ident)

    def _on_restore(self, command: dict, sender: Any) -> None:
        self._branch.restore(self._shelved(self._moments, command, "moment"))
        self._jumped()

    def _on_forget(self, command: dict, sender: Any) -> None:
        self._shelved(self._moments, command, "moment")
        del self._moments[command["ident"]]
        self._tell_state()

    def _on_fork(self, command: dict, sender: Any) -> None:
        if len(self._branches) >= MAX_BRANCHES:
            raise MlxworldError(f"at most {MAX_BRANCHES} branches live at once: close one first")
        left, fork, ident = self._active, self._branch.fork(), self._new_ident()
        self._branches[ident] = fork
        self._active = ident
        self._jumped()
        self._thumb(wire.BRANCH, left)
        self._thumb(wire.BRANCH, ident)

    def _on_switch(self, command: dict, sender: Any) -> None:
        self._shelved(self._branches, command, "branch")
        left, self._active = self._active, command["ident"]
        self._jumped()
        self._thumb(wire.BRANCH, left)

    def _on_close(self, command: dict, sender: Any) -> None:
        self._shelved(self._branches, command, "branch")
        if command["ident"] == self._active:
            raise MlxworldError("this branch is the one being played: switch to another one first")
        del self._branches[command["ident"]]
        self._tell_state()

    def _on_load(self, command: dict, sender: Any) -> None:
        choice = Choice(command["world"], command["backend"], command["steps"], command["precision"])
        self._open(
            self._offers.check(choice), self._branch.origin if self._branch.origin.start is None else Origin(7, None)
        )
        self._tell_all()

    def _on_log(self, command: dict, sender: Any) -> None:
        self.emit(sender, {"type": "log", "log": self._branch.log(self._world_digest())})

    def _on_replay(self, command: dict, sender: Any) -> None:
        log = Log.read(command["log"])
        self._begin_as(log)
        fits = tuple(self._branch.world.actions) == log.action_names
        self._replay, self._running = (Replay(log), True) if fits else (None, False)
        self._tell_all()
        if not fits:
            raise MlxworldError("the action log was made with another set of actions than this world has")
        if not log.actions:
            self._end_replay()

    def _on_stop(self, command: dict, sender: Any) -> None:
        self._replay = None
        self._tell_state()

    def _end_replay(self) -> None:
        replay, self._replay, self._running = self._replay, None, False
        assert replay is not None
        same = digest(self._branch.frame) == replay.log.digest
        self.emit(None, {"type": "replayed", "same": same, "frames": replay.done})
        self._tell_state()

    def _shelved(self, shelf: dict[int, Any], command: dict, what: str) -> Any:
        if command["ident"] not in shelf:
            raise MlxworldError(f"this {what} is no longer kept")
        return shelf[command["ident"]]

    def _world_digest(self) -> str:
        """The digest of the present world; reading all weights takes a moment, so it is read once."""
        if self._digest is None:
            self._digest = self._branch.world.digest
        return self._digest

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
            self._branches[self._active] = Branch.begin(w, log.origin)
        else:
            self._open(choice, log.origin, log.world_digest)
