"""Worlds that raise whatever they like, wherever they like: one line to the pages, and the game lives on."""

import time
import unicodedata

import pytest

from apps.play import wire
from apps.play.game import Choice
from apps.play.inbox import Inbox
from mlxworld import MlxworldError

from .test_game import Told
from .toy import ToyWorld


class Untold(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


LONG = "\x1b[31mline one\x00\x07\u202e\u2028" + "x" * 3000 + "\nline two\r\n" + "y" * 3000
FAULTS = {
    "long": RuntimeError(LONG),
    "ours": MlxworldError(LONG),
    "empty lines first": ValueError("\n\n  \nthe reason"),
    "no text": KeyError(),
    "text that fails": Untold(),
    "system exit": SystemExit(3),
    "keyboard": KeyboardInterrupt(),
    "memory": MemoryError(),
    "stop": StopIteration(),
}
CALLS = {
    "step": ("step", {}),
    "reset": ("reset", {"seed": 1, "start": None}),
    "snapshot": ("save", {}),
    "restore": ("rewind", {}),
    "fork": ("fork", {}),
    "load": ("load", {"world": "doom", "backend": "mlx", "steps": 4, "precision": None}),
    "digest": ("log", {}),
}


def fail(game: Told, call: str, fault: BaseException):
    """Make this call of the present world, or of the next one to be loaded, raise. Returns what mends it."""

    def raises(*args, **kwargs):
        raise fault

    world = game.game._branch.world
    if call == "load":
        load, game.game._load = game.game._load, raises
        return lambda: setattr(game.game, "_load", load)
    of, name = (type(world), call) if call == "digest" else (world, call)
    original = getattr(of, name) if call != "digest" else of.__dict__[name]
    setattr(of, name, property(raises) if call == "digest" else raises)
    return lambda: setattr(of, name, original)


def is_a_line(text: str) -> bool:
    return 0 < len(text) <= 200 and not any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in text)


@pytest.fixture
def game():
    class World(ToyWorld):
        """A class of its own: the tests spoil it."""

        digest = ToyWorld.digest

    game = Told(Choice("pong"), World)
    yield game
    game.game.stop()
    assert not game.game._thread.is_alive()


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("call", CALLS)
def test_whatever_a_world_raises_is_a_line_and_the_game_goes_on(game, call, fault):
    game.steps(1, 1)
    mend = fail(game, call, fault)
    command, fields = CALLS[call]
    game.do(command, **fields)
    if call == "restore":
        game.do("step")  # the world goes back when it is next needed
    assert is_a_line(game.message("error")["text"])
    assert game.message("world")["world"] == "pong"
    mend()
    game.do("reset", seed=3, start=None)
    game.steps(2, 2)
    assert game.log()["actions"] == [[2, 2]]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_running_world_that_raises_is_paused_and_told_of_once(game, fault):
    mend = fail(game, "step", fault)
    game.do("run", on=True)
    assert is_a_line(game.message("error")["text"])
    assert game.message("state")["running"] is False
    time.sleep(0.3)
    waiting = [game.out.get() for _ in range(game.out.qsize())]
    assert not [message for message in waiting if isinstance(message, dict) and message["type"] == "error"]
    mend()
    game.steps(1)


def test_the_reason_is_in_the_line_and_the_rest_in_the_log(game, caplog):
    fail(game, "step", RuntimeError("the joint angle is out of range\n" + "z" * 300))
    game.do("step")
    text = game.message("error")["text"]
    assert text == "the world failed and is paused: the joint angle is out of range"
    assert "z" * 300 in caplog.text and "Traceback" in caplog.text


def test_every_page_is_told_when_loading_ends_without_a_world(game):
    targets = []
    emit = game.game.emit
    game.game.emit = lambda target, message: (targets.append((target, message)), emit(target, message))
    fail(game, "load", MlxworldError("no such file"))
    game.game.submit({"type": "load", **CALLS["load"][1]}, "a page")
    game.message("error")
    sent = [(target, message["type"]) for target, message in targets if isinstance(message, dict)]
    assert sent.index((None, "loading")) < sent.index((None, "world"))


@pytest.mark.parametrize("fault", [SystemExit(3), RuntimeError("x"), Untold()], ids=lambda fault: type(fault).__name__)
def test_the_first_world_s_failure_ends_the_start(fault):
    class World(ToyWorld):
        @classmethod
        def load(cls, *args, **options):
            raise fault

    with pytest.raises(type(fault)):
        Told(Choice("pong"), World)


@pytest.mark.parametrize(
    ("text", "line"),
    [("a\nb", "a"), ("\x1b[2J\tx  y", "[2J x y"), ("", "str"), ("\n \nb", "b"), ("ä é 😀", "ä é 😀"), ("\ud800a", "a"),
     ("a" * 201, "a" * 199 + "…"), ("a" * 200, "a" * 200), (KeyError("k"), "'k'"), (OSError(), "OSError")],
)  # fmt: skip
def test_one_line(text, line):
    assert wire.one_line(text) == line


def test_a_terminal_is_not_coloured():
    assert wire.printable("\x1b[31ma\nb\x9b\u202ec") == " [31ma\nb  c"


def test_only_the_newest_world_to_load_waits():
    loads = []

    class Slow(ToyWorld):
        @classmethod
        def load(cls, name, **options):
            loads.append((name, options["steps"]))
            return super().load(name, **options)

        def reset(self, seed=7, context=None):
            time.sleep(0.2 * (len(loads) > 1))
            return super().reset(seed, context)

    game = Told(Choice("pong"), Slow)
    try:
        for number in range(60):
            steps = (1, 2, 4, 8)[number % 4]
            game.do("load", world=("pong", "doom")[number % 2], backend="torch", steps=steps, precision=None)
        while game.message("world")["steps"] != 8:
            continue
        game.steps(1)
        assert 2 <= len(loads) <= 4 and loads[-1] == ("doom", 8)
    finally:
        game.game.stop()


def test_only_the_newest_of_restarts_in_a_row_waits():
    inbox = Inbox()
    inbox.put({"type": "step"}, 1)
    for seed in range(100):
        assert inbox.put({"type": "reset", "seed": seed}, 1)
    inbox.put({"type": "switch"}, 1)  # to another branch
    assert inbox.put({"type": "reset", "seed": 100}, 1)
    waiting = [command for command, _ in iter(lambda: inbox.get(0), None)]  # type: ignore[misc]
    assert [command["type"] for command in waiting] == ["step", "reset", "switch", "reset"]
    assert [command["seed"] for command in waiting if "seed" in command] == [99, 100]


class Package(ToyWorld):
    """As a Core ML package behaves: its settings are those that it was converted with."""

    @classmethod
    def load(cls, name, backend=None, batch=1, precision=None, weights=None, steps=None):
        if not name.endswith(".mlpackage"):
            if backend == "coreml":
                raise MlxworldError("backend 'coreml' plays a .mlpackage")
            return super().load(name, backend, batch, precision, weights, steps)
        if backend not in (None, "coreml"):
            raise MlxworldError(f"unknown world {name!r}")
        return cls(name, "coreml", "float16", 4)


def test_a_package_offers_what_it_can_do_and_can_be_come_back_to():
    path = "/worlds/pong.mlpackage"
    game = Told(Choice(path), Package)
    try:
        game.do("reset", seed=3, start=None)
        game.steps(1, 2)
        log = game.log()
        assert (log["world"], log["backend"]) == ("pong.mlpackage", "coreml")
        game.game.submit({"type": "hello"})
        only = {"backends": ["coreml"], "precisions": ["float16"], "step_counts": [4]}
        assert game.message("world")["offered"] == {"worlds": ["pong", "doom", path], **only}
        game.do("load", world="pong", backend=None, steps=None, precision=None)
        world = game.message("world")
        assert (world["backend"], world["offered"]["backends"]) == ("torch", ["torch", "mlx"])
        game.do("load", world=path, backend=None, steps=None, precision=None)
        assert (world := game.message("world"))["backend"] == "coreml" and world["world"] == path
        game.do("load", world="pong", backend=None, steps=None, precision=None)
        game.do("replay", log=log)
        assert game.message("replayed")["same"] is True
    finally:
        game.game.stop()
