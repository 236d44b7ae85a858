"""The game: the one thread that owns the world. It loads, steps and answers commands, and knows nothing of the network.

Commands come in through `submit` (in order) and `press` (only the latest counts); everything that others should know
goes out through `emit(target, message)`: a dict for JSON, bytes for a packed frame; target None means everyone.
"""

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
from .branch import MAX_ACTIONS, Branch, Log, Moment, Origin, digest
from .keys import Keys
from .wire import BadMessage

MAX_MOMENTS = 8
MAX_BRANCHES = 4
MAX_WAITING = 64
REWIND_S = 5.0
PRECISIONS = ("float32", "float16", "bfloat16")
STEPS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Choice:
    """What to load: a name or folder, and the settings; None leaves a setting to the world."""

    world: str
    backend: str | None = None
    steps: int | None = None
    precision: str | None = None


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
        self._offered = {"worlds": list(dict.fromkeys([*worlds, choice.world])), "backends": backends}
        self._commands: queue.SimpleQueue[tuple[dict, Any]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._live, name="model", daemon=True)
        self._ready: queue.Queue[Exception | None] = queue.Queue()
        self._stopping = False
        self._running = False
        self._replay: Replay | None = None
        self._serial = 0
        self._ident = 0
        self._moments: dict[int, Moment] = {}
        self._branches: dict[int, Branch] = {}
        self._active = 0

    def start(self) -> None:
        """Load the first world on the model thread. Raises what loading raised."""
        self._thread.start()
        if error := self._ready.get():
            raise error

    def stop(self) -> None:
        """End the model thread after its present frame."""
        self._commands.put(({"type": "end"}, None))
        self._thread.join(timeout=10)

    def submit(self, command: dict[str, Any], sender: Any = None) -> bool:
        """Queue a command that `wire.parse` has checked; False when too many wait already (as while a world loads)."""
        if command["type"] in wire.COMMANDS and self._commands.qsize() >= MAX_WAITING:
            return False
        self._commands.put((command, sender))
        return True

    # -- the model thread ---------------------------------------------------------------------------------------------

    @property
    def _branch(self) -> Branch:
        return self._branches[self._active]

    def _live(self) -> None:
        try:
            self._open(self._choice, Origin(7, None))
        except Exception as error:
            self._ready.put(error)
            return
        self._ready.put(None)
        due = perf_counter()
        while not self._stopping:
            wait = max(0.0, due - perf_counter()) if self._running else None
            try:
                command, sender = self._commands.get(timeout=wait)
            except queue.Empty:
                self._guard(self._advance, None)
                due = self._next(due)
            else:
                was = self._running
                self._guard(lambda c=command, s=sender: getattr(self, f"_on_{c['type']}")(c, s), sender)
                due = due if was and self._running else perf_counter()

    def _next(self, due: float) -> float:
        """When the next frame is due: at the world's own rate, without bursts to catch up when the model is slow."""
        period, now = 1 / self._branch.world.fps, perf_counter()
        return due + period if now - due < 2 * period else now

    def _guard(self, act: Callable[[], None], sender: Any) -> None:
        """Run one command or step; whatever fails is told, and the thread lives on."""
        try:
            act()
        except (MlxworldError, BadMessage) as error:
            self.emit(sender, {"type": "error", "text": str(error)})
            self._tell_world(sender)
        except Exception as error:
            traceback.print_exc()
            self._running, self._replay = False, None
            self.emit(None, {"type": "error", "text": f"the world failed and is paused: {error}"})
            self._tell_state()

    def _advance(self) -> None:
        action, key = self.keys.read()
        flags = 0
        if replay := self._replay:
            action, flags = replay.log.actions[replay.done], wire.REPLAYED
            replay.done += 1
        elif len(self._branch.actions) >= MAX_ACTIONS:
            self._running = False
            self._tell_state()
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
        kept = self._moments[ident] if kind == wire.MOMENT else self._branches[ident]
        self.emit(target, wire.pack(kept.frame, self._branch.world.fps, kind=kind, ident=ident))

    def _open(self, choice: Choice, origin: Origin) -> None:
        """Load a world and begin it; on failure the present one stays."""
        self.emit(None, {"type": "loading", "world": choice.world})
        settings = {"backend": choice.backend, "steps": choice.steps, "precision": choice.precision}
        branch = Branch.begin(self._load(choice.world, **settings), origin)
        self._choice, self._replay = choice, None
        self.keys.clear(len(branch.world.actions))
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
        offered = {
            "worlds": self._offered["worlds"],
            "backends": self._offered["backends"],
            "precisions": sorted({*PRECISIONS, w.precision}),
            "step_counts": sorted({*STEPS, w.steps}),
        }
        self.emit(target, {"type": "world", "world": name, **about, **sound, **chosen, "offered": offered})

    def _tell_state(self, target: Any = None) -> None:
        branch, replay = self._branch, self._replay
        story = {"seed": branch.origin.seed, "start": branch.origin.start}
        kept = {"moments": [{"ident": i, "index": m.frame.index} for i, m in self._moments.items()]}
        lives = {"branches": [{"ident": i, "index": b.frame.index} for i, b in self._branches.items()]}
        room = {"max_moments": MAX_MOMENTS, "max_branches": MAX_BRANCHES, "active": self._active}
        progress = [replay.done, len(replay.log.actions)] if replay else None
        state = {"running": self._running, "replay": progress, **story, **kept, **lives, **room}
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
        self._branch.restore(self._kept(self._moments, command, "moment"))
        self._jumped()

    def _on_forget(self, command: dict, sender: Any) -> None:
        self._kept(self._moments, command, "moment")
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
        self._kept(self._branches, command, "branch")
        left, self._active = self._active, command["ident"]
        self._jumped()
        self._thumb(wire.BRANCH, left)

    def _on_close(self, command: dict, sender: Any) -> None:
        self._kept(self._branches, command, "branch")
        if command["ident"] == self._active:
            raise MlxworldError("this branch is the one being played: switch to another one first")
        del self._branches[command["ident"]]
        self._tell_state()

    def _on_load(self, command: dict, sender: Any) -> None:
        choice = Choice(command["world"], command["backend"], command["steps"], command["precision"])
        self._open(self._offer(choice), self._branch.origin if self._branch.origin.start is None else Origin(7, None))
        self._tell_all()

    def _on_log(self, command: dict, sender: Any) -> None:
        self.emit(sender, {"type": "log", "log": self._branch.log(self._choice.world)})

    def _on_replay(self, command: dict, sender: Any) -> None:
        log = Log.read(command["log"])
        wanted = self._offer(Choice(log.world, log.backend, log.steps, log.precision))
        w = self._branch.world
        if (self._choice.world, w.backend, w.steps, w.precision) != (log.world, log.backend, log.steps, log.precision):
            self._open(wanted, log.origin)
        else:
            self._branches[self._active] = Branch.begin(w, log.origin)
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

    def _kept(self, kept: dict[int, Any], command: dict, what: str) -> Any:
        if command["ident"] not in kept:
            raise MlxworldError(f"this {what} is no longer kept")
        return kept[command["ident"]]

    def _offer(self, choice: Choice) -> Choice:
        """Only what was offered is loaded: no text of a page ever becomes a path."""
        if choice.world not in self._offered["worlds"]:
            raise MlxworldError("this world is not among those offered: start the app with --world NAME")
        backends = [*self._offered["backends"], self._branch.world.backend]  # the present one may be a package's
        if choice.backend not in backends:
            raise MlxworldError(f"this backend is not installed: choose one of {', '.join(self._offered['backends'])}")
        return choice
