"""The one thread that owns the world: it loads, steps, shows and tells, and lives through whatever fails.

What commands do stands in `game.py`. Everything that others should know goes out through `emit(target, message)`: a
dict for JSON, bytes for a packed frame; target None means everyone. Knows nothing of the network.
"""

import logging
import queue
import threading
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import mlxworld
from mlxworld import MlxworldError

from . import overlay, wire
from .action_log import MAX_ACTIONS, Log, Origin, digest
from .branch import Branch, Moment
from .controls import count, number_of, together
from .films import Films
from .inbox import Inbox
from .keys import Keys
from .offers import Choice, Offers
from .pace import Pace, fewer
from .shelf import MOST as MAX_MOMENTS
from .shelf import Shelf
from .wire import BadMessage

LOG = logging.getLogger(__name__)
MAX_BRANCHES = 4
MAX_UNDO = 4


@dataclass
class Replay:
    """A log being played again: `done` of its actions have been used."""

    log: Log
    done: int = 0


@dataclass
class Future:
    """A second future beside the one that is played: an agent lives it."""

    branch: Branch
    agent: Any

    def step(self) -> None:
        """Its next frame."""
        self.branch.step(number_of(self.branch.world, self.agent.act(self.branch.frame)))


class ModelThread:
    """See the head of this file. `start` blocks until the first world is loaded; `stop` ends the thread."""

    def __init__(
        self,
        load: Callable[..., "mlxworld.World"],
        worlds: list[str],
        backends: list[str],
        choice: Choice,
        folder: Path | None = None,
        runs: Callable[[], list[str]] = list,
    ):
        """folder: where moments and recordings are kept; runs: what finds the run folders that may be played too."""
        self.emit: Callable[[Any, dict | bytes], object] = lambda target, message: None
        self.keys = Keys()
        self._load, self._choice = load, choice
        self._offers = Offers(worlds, backends, choice, runs)
        self._worker = ThreadPoolExecutor(1, "films")
        self.films = Films(folder, self._worker, lambda target, message: self.emit(target, message))
        self._shelf = Shelf(folder, self._worker, lambda message: self.emit(None, message))
        self._inbox = Inbox()
        self._thread = threading.Thread(target=self._live, name="model", daemon=True)
        self._ready: queue.Queue[BaseException | None] = queue.Queue()
        self._stopping = False
        self._running = False
        self._replay: Replay | None = None
        self._bodies = False  # whether pages show what is known of the bodies: nothing is read where they do not
        self._pilot: Any = None  # the agent that plays, None where a person does
        self._future: Future | None = None
        self._undo: deque[tuple[int, Moment]] = deque(maxlen=MAX_UNDO)  # branch and moment before each jump
        self._serial = 0
        self._ident = 0
        self._opened = 0
        self._version = 0  # of the present world's weights, when they were loaded
        self._period = 0.0
        self._pace = Pace(30)
        self._digest: str | None = None
        self._branches: dict[int, Branch] = {}
        self._active = 0

    def start(self) -> None:
        """Load the first world on the model thread. Raises what loading raised."""
        self._thread.start()
        if (error := self._ready.get()) is not None:
            raise error

    def stop(self) -> None:
        """End the model thread after its present frame, and what it has begun."""
        self._inbox.put({"type": "end"}, None, bounded=False)
        self._thread.join(timeout=10)
        self.films.stop()
        self._worker.shutdown()

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
        self._part()

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
        self._settle()
        branch, flags = self._branch, 0
        action, key = self.keys.read()
        if replay := self._replay:
            action, flags = replay.log.actions[replay.done], wire.REPLAYED
            replay.done += 1
        elif branch.position >= MAX_ACTIONS:
            raise MlxworldError("the action log is full: restart the world to play on")
        elif self._pilot and action:
            self._pilot = None  # a key takes over
            self._tell_state()
        elif self._pilot:
            action = number_of(branch.world, self._pilot.act(branch.frame))
        began = perf_counter()
        branch.step(action)
        if self._future:
            self._future.step()
        took = (perf_counter() - began) * 1e3
        self._show(flags=flags, action=action, key=key)
        if replay and replay.done == len(replay.log.actions):
            self._end_replay()
        elif self._running and not replay:
            self._pace.add(took)
            if self._pace.too_slow:
                self._lower()

    def _settle(self) -> None:
        """The world goes to the frame that is shown; what came after it can be had again by `undo`."""
        if self._branch.is_back:
            self._undo.append((self._active, self._branch.latest()))
            self._branch.settle()
            self._tell_state()

    def _lower(self) -> None:
        """The model is too slow: fewer passes a frame from here on, where the settings were left to the app. Where
        there are no fewer, the world plays at the rate that it has."""
        self._pace.begin()
        w, counts = self._branch.world, self._offers.of(self._branch.world)["step_counts"]
        steps = fewer(w.steps, counts) if self._choice.steps is None else None
        while steps is not None:
            try:
                world = self._load(self._choice.world, backend=w.backend, steps=steps, precision=w.precision)
                break
            except MlxworldError:  # passes that do not divide the model's
                steps = fewer(steps, counts)
        if steps is None:
            return
        self._branch.move_to(world, "its passes a frame were lowered on the way")
        self._digest = None  # its folder may have been trained on
        self._tell_world()
        self._tell_state()
        passes = "1 pass" if steps == 1 else f"{steps} passes"
        self._tell(f"To keep the world's pace, frames are dreamt in {passes} from here on.")

    # -- telling ------------------------------------------------------------------------------------------------------

    def _tell(self, text: str, target: Any = None, undo: bool = False) -> None:
        """A sentence for the pages; undo: what it tells can be undone."""
        self.emit(target, {"type": "note", "text": text, "undo": undo})

    def _show(self, target: Any = None, flags: int = wire.CUT, action: int = 0, key: float | None = None) -> None:
        self._serial += target is None
        branch = self._branch
        beside = self._future.branch.frame if self._future else branch.beside
        if beside is not None:
            self.emit(target, wire.pack(beside, branch.world.fps, kind=wire.BESIDE, flags=flags, serial=self._serial))
        shape = {"flags": flags, "action": action, "serial": self._serial, "key": key}
        self.emit(target, wire.pack(branch.frame, branch.world.fps, **shape))
        if target is None and not (branch.is_back or flags & wire.CUT):
            recording = self.films.recording
            self.films.add(branch.frame, beside)
            if self.films.recording is not recording:  # it has failed
                self._tell_state()
        self._tell_bodies(target)

    def _tell_bodies(self, target: Any = None) -> None:
        """What is known of the bodies in the pictures, after these have gone out: they do not wait for it."""
        if self._bodies and overlay.known(self._branch):
            self.emit(target, overlay.message(self._branch, self._future.branch if self._future else None))

    def _thumb(self, kind: int, ident: int, target: Any = None) -> None:
        shown = self._shelf.frames[ident] if kind == wire.MOMENT else self._branches[ident].frame
        self.emit(target, wire.pack(shown, self._branch.world.fps, kind=kind, ident=ident))

    def _offer(self, target: Any = None) -> None:
        """The pictures of the worlds that may be chosen."""
        for ident, name in enumerate(self._offers.worlds):
            picture = self._offers.picture(name)
            if picture is not None:
                frame = mlxworld.Frame(picture, self._branch.frame.audio[:0], 0, 0.0)
                self.emit(target, wire.pack(frame, 1.0, kind=wire.OFFER, ident=ident))

    def _open(self, choice: Choice, origin: Origin, world_digest: str | None = None) -> None:
        """Load a world and begin it; on failure, and where its digest is not the one asked for, the present one stays.

        Raises MlxworldError, or what the world raised.
        """
        self.emit(None, {"type": "loading", "world": choice.world})
        settings = {"backend": choice.backend, "steps": choice.steps, "precision": choice.precision}
        try:
            version = mlxworld.version(choice.world)
            world = self._load(choice.world, **settings)
            if world_digest is not None and world.digest != world_digest:
                raise MlxworldError(f"the action log was made with other weights than {world.name} has")
            branch, period = Branch.begin(world, origin), 1 / world.fps
            self._offers.loaded(choice, world)
            self.keys.clear(count(world))
        except BaseException:
            if self._branches:
                self._recover(None)  # no page waits for a world that does not come
            raise
        self._part()
        self._choice, self._replay, self._period, self._digest = choice, None, period, world_digest
        self._opened += 1
        self._version, self._pace = version, Pace(world.fps)
        self._undo.clear()
        self._active = self._new_ident()
        self._branches = {self._active: branch}
        self.films.begin(world)
        self._shelf.open(self._world_digest() if self._shelf.keeps else None)
        self._pilot = self._pilot and mlxworld.agent(world, origin.seed)
        if self._offers.seen(choice.world, branch.frame.video):
            self._offer()

    def _part(self) -> None:
        """Leave what plays beside: the second future, the real game."""
        self._future = None
        for branch in self._branches.values():
            if branch.real:
                branch.real.close()
                branch.real = None

    def _new_ident(self) -> int:
        self._ident = self._shelf.free_ident(self._ident + 1)
        return self._ident

    def _tell_world(self, target: Any = None) -> None:
        w, name = self._branch.world, self._choice.world
        about = {"name": w.name, "actions": list(w.actions), "keys": w.keys, "fps": w.fps, "starts": w.starts}
        sound = {"sample_rate": w.sample_rate, "samples": w.samples, "size": list(w.size), "aspect": w.aspect}
        chosen = {"backend": w.backend, "device": w.device, "precision": w.precision, "steps": w.steps}
        place = {"world": name, "opened": self._opened, "offered": self._offers.of(w)}
        automatic = {"auto": self._choice.steps is None, "together": together(w)}
        self.emit(target, {"type": "world", **place, **about, **sound, **chosen, **automatic})

    def _tell_state(self, target: Any = None) -> None:
        branch, replay = self._branch, self._replay
        story = {"seed": branch.origin.seed, "start": branch.origin.start, "told": branch.origin.untold is None}
        shelf = {"moments": [{"ident": i, "index": f.index} for i, f in self._shelf.frames.items()]}
        lives = {"branches": [{"ident": i, "index": b.frame.index} for i, b in self._branches.items()]}
        room = {"max_moments": MAX_MOMENTS, "max_branches": MAX_BRANCHES, "active": self._active}
        progress = [replay.done, len(replay.log.actions)] if replay else None
        beside = "future" if self._future else "real" if branch.real else None
        doing = {"pilot": self._pilot is not None, "beside": beside, "recording": self.films.recording is not None}
        doing |= {"bodies": self._bodies, "embodied": overlay.known(branch)}
        back = {"span": list(branch.span), "position": branch.position, "undo": len(self._undo)}
        state = {"running": self._running, "replay": progress, **story, **shelf, **lives, **room, **doing, **back}
        self.emit(target, {"type": "state", **state})

    def _tell_all(self, target: Any = None) -> None:
        self._tell_world(target)
        self._tell_state(target)
        self._show(target)
        for ident in self._shelf.frames:
            self._thumb(wire.MOMENT, ident, target)
        for ident in self._branches:
            self._thumb(wire.BRANCH, ident, target)

    def _end_replay(self) -> None:
        replay, self._replay, self._running = self._replay, None, False
        assert replay is not None
        same = digest(self._branch.frame) == replay.log.digest
        self.emit(None, {"type": "replayed", "same": same, "frames": replay.done})
        self._tell_state()

    def _world_digest(self) -> str:
        """The digest of the present world; reading all weights takes a moment, so it is read once."""
        if self._digest is None:
            self._digest = self._branch.world.digest
        return self._digest
