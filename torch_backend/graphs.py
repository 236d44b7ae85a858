"""CUDA graphs and compiled steps: functions of fixed shapes, recorded once, then replayed in one launch.

Each eager operation costs the host about 10 us, the same operation in a graph about 1 us; a rollout step has hundreds.
"""

import atexit
import ctypes
import logging
import threading
from typing import Any, ClassVar

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from mlxworld.errors import require_alike

from .ops import owning_rings

log = logging.getLogger(__name__)


class Graphed:
    """`fn` of tensors (trees too) on one GPU, which must not read the host. Recorded at the first call.

    The result's tensors are overwritten by the next call: copy what is to stay.
    """

    def __init__(self, fn, warmup: int = 3):
        self.fn, self.warmup, self.graph = fn, warmup, None

    def __call__(self, *args):
        leaves, tree = tree_flatten(args)
        if self.graph is None:
            self._record(leaves, tree)
        assert self.graph is not None
        torch._foreach_copy_(self.inputs, leaves)  # pyright: ignore[reportPrivateImportUsage]
        self.graph.replay()
        return tree_unflatten(self.outputs, self.tree)

    def _record(self, leaves, tree):
        self.inputs = [leaf.clone() for leaf in leaves]
        args = tree_unflatten(self.inputs, tree)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(self.warmup):
                self.fn(*args)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            found = self.fn(*args)
        self.outputs, self.tree = tree_flatten(found)


class Captured:
    """`fn` of tensors (trees too) on one GPU that also writes tensors of its own, such as weights: a call runs it once.

    Of each set of shapes two calls run as they are, the next is recorded, and every later one is a launch. Results
    are copies. A function that reads the host cannot be recorded: a warning says so, and it stays as it is.
    """

    def __init__(self, fn, warmup: int = 2):
        self._fn, self._warmup, self._calls = fn, warmup, {}
        self._graphs: dict[Any, Any] = {}
        self._stream, self._pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()

    def __call__(self, *args):
        leaves, tree = tree_flatten(args)
        kind = str(tree), str(_shapes(leaves))
        calls = self._calls[kind] = self._calls.get(kind, 0) + 1
        if calls <= self._warmup or self._pool is None:
            return self._beside(args)
        if kind not in self._graphs and not self._record(kind, leaves, tree):
            return self._beside(args)
        inputs, graph, outputs, result = self._graphs[kind]
        for held, leaf in zip(inputs, leaves, strict=True):
            held.copy_(leaf, non_blocking=True)
        graph.replay()
        return tree_unflatten([x.clone() for x in outputs], result)

    def _beside(self, args):
        """The function as it is, on the stream where it would be recorded."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            result = self._fn(*args)
        torch.cuda.current_stream().wait_stream(self._stream)
        return result

    def _record(self, kind, leaves, tree) -> bool:
        inputs, graph = [leaf.clone() for leaf in leaves], torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                result = self._fn(*tree_unflatten(inputs, tree))
        except RuntimeError as error:
            log.warning("the training step is not recorded: %s", str(error).strip().splitlines()[0])
            self._pool = None
            return False
        self._graphs[kind] = inputs, graph, *tree_flatten(result)
        return True


class Compiled:
    """A function that a thread of its own compiles; until that is done, and where it fails, there is none."""

    threads: ClassVar[list[threading.Thread]] = []  # of all that are compiled in this process

    @classmethod
    def busy(cls) -> bool:
        """Whether anything is being compiled: the device is not the caller's alone then, and nothing is recorded."""
        cls.threads[:] = [thread for thread in cls.threads if thread.is_alive()]
        return bool(cls.threads)

    def __init__(self, fn):
        self.ready, self._fn, self._thread = None, fn, None

    def begin(self, args):
        """Starts to compile for such arguments, of which copies are taken. Once."""
        if self._thread is None:
            leaves, tree = tree_flatten(args)
            args = tree_unflatten([leaf.clone() for leaf in leaves], tree)
            self._thread = threading.Thread(target=self._work, args=[args], daemon=True, name="compile")
            self._thread.start()
            self.threads.append(self._thread)

    def settle(self):
        if self._thread is not None:
            self._thread.join()

    def _work(self, args):
        options: dict[str, Any] = {"freezing": tree_flatten(args)[0][0].device.type == "cpu"}
        made = torch.compile(self._fn, fullgraph=True, dynamic=False, options=options)
        try:
            with torch.no_grad():
                made(*args)
            self.ready = made
        except Exception as error:  # whatever a compiler may say: play goes on without it
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            log.warning("the step stays uncompiled: %s", reason)


@atexit.register
def _stop_compilers(patience: float = 30.0) -> None:
    """A thread that is in C++ when Python ends takes the process down with it: SystemExit is raised in it before."""
    for thread in list(Compiled.threads):
        for _ in range(int(patience / 0.2)):
            if thread.is_alive() and thread.ident is not None:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
                thread.join(0.2)


class Loop:
    """Functions that pass on one state of fixed shapes: name -> fn(state, *inputs) -> (outputs, state).

    On a GPU each is a CUDA graph over static tensors. The function that `compile` names is also compiled, in the
    background, after its first call; it takes over at the next `begin`, since it may differ in the last bits and the
    future of a `state` must not: that goes on with the functions it was made by.
    """

    def __init__(self, functions: dict[str, Any], compile: str | None = None):  # noqa: A002
        self._functions, self._compile = functions, compile
        self._leaves, self._tree, self._compiled = [], None, None
        self._static = compile is not None  # leaves are written in place, at addresses that stay
        self._fast, self._graphs = False, {}

    def begin(self, state) -> None:
        """A new state, whose shapes are those of the states before."""
        leaves, tree = tree_flatten(state)
        self._set(leaves, tree, self._compiled is not None and self._compiled.ready is not None)

    def state(self):
        """The state now, for `restore`."""
        leaves = [torch.empty_like(leaf) for leaf in self._leaves]
        torch._foreach_copy_(leaves, self._leaves)  # pyright: ignore[reportPrivateImportUsage]
        return leaves, self._tree, self._fast

    def restore(self, state) -> None:
        self._set(*state)

    def fork(self) -> "Loop":
        """Another loop of these functions, in the same state."""
        twin = object.__new__(type(self))
        twin.__dict__ |= self.__dict__ | {"_leaves": [], "_graphs": {}}
        twin.restore(self.state())
        return twin

    def settle(self) -> None:
        """Waits for the compiler."""
        if self._compiled is not None:
            self._compiled.settle()

    def __call__(self, name: str, *inputs):
        """Outputs of a function of the state, which goes on. On a GPU its next call overwrites them."""
        run: Any = self._functions[name]
        if not self._static:
            assert self._tree is not None
            with owning_rings():
                outputs, state = run(tree_unflatten(self._leaves, self._tree), *inputs)
            self._leaves = tree_flatten(state)[0]
            return outputs
        compiled = self._compiled if name == self._compile else None
        if compiled is not None and self._fast:
            if compiled.ready is None:  # of another loop's state: its future is that of the compiled step
                compiled.begin((self._leaves, *inputs))
                compiled.settle()
            run = compiled.ready or run
        outputs = self._replayed(name, run, inputs) if self._leaves[0].is_cuda else run(self._leaves, *inputs)
        if compiled is not None:
            compiled.begin((self._leaves, *inputs))
        return outputs

    def _replayed(self, name, run, inputs):
        kind = name, self._fast
        if kind not in self._graphs and Compiled.busy():
            return run(self._leaves, *inputs)
        if kind not in self._graphs:
            with owning_rings():
                self._graphs[kind] = self._record(run, inputs)
        return self._graphs[kind](inputs)

    def _set(self, leaves, tree, fast):
        if self._leaves:
            require_alike(_shapes(self._leaves), _shapes(leaves))
        self._static |= leaves[0].is_cuda
        if self._static and self._tree is None:
            self._functions = {name: _in_place(fn, tree) for name, fn in self._functions.items()}
            if self._compile is not None:
                self._compiled = Compiled(self._functions[self._compile])
        self._tree, self._fast = tree, fast
        if self._static and self._leaves:
            for old, new in zip(self._leaves, leaves, strict=True):
                old.copy_(new)
        else:
            self._leaves = [leaf.clone(memory_format=torch.contiguous_format) for leaf in leaves]

    def _record(self, run, inputs):
        saved, inputs = [leaf.clone() for leaf in self._leaves], [x.clone() for x in inputs]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                run(self._leaves, *inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            outputs = run(self._leaves, *inputs)
        self._set(saved, self._tree, self._fast)

        def replay(given):
            for held, x in zip(inputs, given, strict=True):
                held.copy_(x, non_blocking=True)
            graph.replay()
            return outputs

        return replay


def _shapes(leaves):
    return [(tuple(leaf.shape), str(leaf.dtype)) for leaf in leaves]


def _in_place(fn, tree):
    """fn(state, *inputs) -> (outputs, state) as a function of the state's leaves, which it overwrites."""

    def run(leaves, *inputs):
        outputs, state = fn(tree_unflatten(leaves, tree), *inputs)
        for old, new in zip(leaves, tree_flatten(state)[0], strict=True):
            old.copy_(new)
        return outputs

    return run
