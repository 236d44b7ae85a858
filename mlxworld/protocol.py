"""The backend protocol: what `mlxworld` (MLX) and `torch_backend` (PyTorch) both have in nn, ops, random and engine.

Documented once, here; a test holds both to exactly these names, parameters and defaults. A parameter before `/` has
another name on each side: give it by position. Shared methods of arrays are used directly and are not listed:
reshape, swapaxes, moveaxis, flatten, mean, sum, argmax, cumsum, indexing, arithmetic, comparison, `@`.

Arrays are channels last. Letters: B batch, H heads, W slots of a ring, K tokens, E width of a head, C channels.
"""

# The body of a method here is its docstring:
# pyright: reportReturnType=false

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from os import PathLike
from typing import Any, Protocol

import numpy as np

Array = Any  # mlx.core.array or torch.Tensor
Model = Any  # nn.Module of either package
Tree = Any  # arrays in any nesting of dict, list and tuple
Path = str | PathLike[str]


class Nn(Protocol):
    """Layers, their parameters named and shaped alike: `weight`, `bias`; convolutions hold (out, *kernel, in)."""

    class Module:
        """A model or layer: write `forward`, call the object.

        A list of modules holds children, an array in `self.x` is a parameter, one in `self._x` a constant that is not
        saved. A tuple or dict of modules raises TypeError. No child may be named after a method of dict or Module.
        """

        def register_buffer(self, name: str, array: Array, /) -> None:
            """`self.name` is an array that is saved, but never trained, averaged or cast. A loss may assign it anew."""

    def Linear(self, dims: int, out: int, /, bias: bool = True) -> Model:
        """x (..., dims) -> x @ weight.T + bias (..., out)."""

    def Embedding(self, num: int, dims: int, /) -> Model:
        """Integers (...) in 0..num-1 -> rows of weight (..., dims)."""

    def Conv1d(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride=1,
        padding=0,
        dilation=1,
        *,
        bias: bool = True,
    ) -> Model:
        """Cross-correlation, (B, L, in) -> (B, (L + 2 padding - dilation (kernel - 1) - 1) // stride + 1, out)."""

    def Conv2d(
        self, in_channels: int, out_channels: int, kernel_size, stride=1, padding=0, dilation=1, *, bias: bool = True
    ) -> Model:
        """x (B, H, W, in) -> (B, H', W', out) as Conv1d on each axis; kernel_size, stride and padding: int or pair."""

    def LayerNorm(self, dims: int, eps: float = 1e-5, affine: bool = True, bias: bool = True) -> Model:
        """(x - mean) / sqrt(variance + eps) over the last axis, times weight plus bias if `affine`."""

    def RMSNorm(self, dims: int, eps: float = 1e-5) -> Model:
        """x / sqrt(mean(x ** 2) + eps) over the last axis, times weight."""

    def residual(self, x: Array, layer: Model, y: Array) -> Array:
        """x + layer(y), in one kernel where the backend has one for a Linear layer."""

    def unembed(self, table: Model, x: Array) -> Array:
        """x (..., dims) @ weight.T of an Embedding -> (..., num): how near x is to each of its rows."""

    def role(self, module: Model, kind: str, /, *names: str) -> Model:
        """The module itself, its own parameters (those of `names`, or all) marked as "input" (a first layer),
        "embedding" (a table, a learned token), "head" (a last layer) or "residual" (what is added to the residual
        stream). Initialisation, optimizers and quantisation go by it, never by names."""

    def roles(self, module: Model) -> dict[str, str]:
        """The role of each parameter that has one, by dotted name."""

    def parameters(self, module: Model) -> dict[str, Array]:
        """The parameters by dotted name, frozen ones too; constants and buffers not."""

    def buffers(self, module: Model) -> dict[str, Array]:
        """The arrays of `register_buffer` by dotted name."""

    def assign(self, module: Model, arrays: Mapping[str, Array]) -> None:
        """Sets the named parameters and buffers. KeyError or ValueError for a name that the module lacks."""

    def limit(self, modules: int, numbers: int) -> AbstractContextManager[None]:
        """While it lasts, a model of more than so many modules or parameters raises MlxworldError as it is built."""

    def checkpoint(self, module: Model, *args: Any) -> Any:
        """module(*args), its activations not kept but computed again in the backward pass."""


class Ops(Protocol):
    """Operations on arrays that the two frameworks spell differently. Elementwise ones broadcast."""

    def abs(self, x: Array, /) -> Array:
        """|x|."""

    def broadcast_to(self, x: Array, shape: Sequence[int], /) -> Array:
        """x as an array of `shape`, by NumPy's rules."""

    def cos(self, x: Array, /) -> Array:
        """Cosine, of radians."""

    def exp(self, x: Array, /) -> Array:
        """e to the power x."""

    def floor(self, x: Array, /) -> Array:
        """The greatest whole number <= x, in x's dtype; no gradient."""

    def log(self, x: Array, /) -> Array:
        """Natural logarithm."""

    def rsqrt(self, x: Array, /) -> Array:
        """1 / sqrt(x)."""

    def sigmoid(self, x: Array, /) -> Array:
        """1 / (1 + exp(-x))."""

    def sin(self, x: Array, /) -> Array:
        """Sine, of radians."""

    def sqrt(self, x: Array, /) -> Array:
        """Square root."""

    def square(self, x: Array, /) -> Array:
        """x * x."""

    def stop_gradient(self, x: Array, /) -> Array:
        """x itself, through which no gradient flows."""

    def tanh(self, x: Array, /) -> Array:
        """Hyperbolic tangent."""

    def where(self, condition: Array, a: Array | float, b: Array | float, /) -> Array:
        """a where the condition holds, b elsewhere."""

    def gelu(self, x: Array, /) -> Array:
        """x * Phi(x), Phi the normal distribution's cumulative function, exact (Hendrycks & Gimpel 2016)."""

    def relu(self, x: Array, /) -> Array:
        """max(x, 0)."""

    def silu(self, x: Array, /) -> Array:
        """x * sigmoid(x)."""

    def array(self, x: Any, like: Array | None = None) -> Array:
        """Numbers, nested lists or a numpy array, with the dtype and device of `like`, else float32, int32 or bool."""

    def arange(self, n: int, like: Array | None = None) -> Array:
        """0 .. n-1 as int32, on the device of `like`."""

    def zeros(self, shape: Sequence[int], like: Array | None = None) -> Array:
        """Zeros in the dtype (float32 without one) and on the device of `like`."""

    def ones(self, shape: Sequence[int], like: Array | None = None) -> Array:
        """Ones in the dtype (float32 without one) and on the device of `like`."""

    def full(self, shape: Sequence[int], value: float, like: Array | None = None) -> Array:
        """`value` everywhere, in the dtype (float32 without one) and on the device of `like`."""

    def cast(self, x: Array, like: Array) -> Array:
        """x in the dtype of `like`."""

    def float32(self, x: Array) -> Array:
        """x as float32."""

    def int32(self, x: Array) -> Array:
        """x as int32, its fraction cut off towards zero."""

    def uint8(self, x: Array) -> Array:
        """x rounded, halves up, and held to 0..255, as uint8."""

    def concat(self, xs: Sequence[Array], axis: int = 0) -> Array:
        """Arrays one after another along an axis that they have."""

    def stack(self, xs: Sequence[Array], axis: int = 0) -> Array:
        """Arrays of one shape along a new axis."""

    def split(self, x: Array, sizes: Sequence[int], axis: int = -1) -> Sequence[Array]:
        """Parts of these sizes, which add up to the axis."""

    def take(self, x: Array, index: Array, axis: int) -> Array:
        """x at the integers `index` of one axis, which is replaced by the axes of `index`."""

    def pad(self, x: Array, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Array:
        """x with (before, after) elements of `value` on each of its axes."""

    def roll(self, x: Array, shift: int, axis: int) -> Array:
        """x moved on by `shift` places along the axis, what falls off the end put first."""

    def rotary(self, x: Array, cos: Array, sin: Array, gains: Array | None = None) -> Array:
        """x (..., E), times gains (..., E), turned: times cos, and with its halves exchanged times sin, added up."""

    def clip(self, x: Array, low: float, high: float) -> Array:
        """x held to [low, high]."""

    def max(self, x: Array, axis: int | Sequence[int], keepdims: bool = False) -> Array:
        """The greatest along axes."""

    def rfft(self, x: Array) -> tuple[Array, Array]:
        """Real and imaginary part (..., n // 2 + 1) of the Fourier transform of real x (..., n), unscaled."""

    def irfft(self, real: Array, imag: Array, n: int) -> Array:
        """The real (..., n) whose `rfft` this is."""

    def rms_norm(self, x: Array, eps: float = 1e-5) -> Array:
        """x / sqrt(mean(x ** 2) + eps) over the last axis (Zhang & Sennrich 2019)."""

    def attention(self, q: Array, k: Array, v: Array, mask: Array | None = None, scale: float | None = None) -> Array:
        """softmax(scale q k^T) v (Vaswani et al. 2017); q (B, H, Q, E), k and v (B, G, K, E) -> (B, H, Q, E).

        scale: 1 / sqrt(E) unless given. G divides H: each of the G heads of k and v serves H / G of q, in order.

        mask broadcasts to (B, H, Q, K): True where a query may look, or numbers in q's dtype to add. A query
        must be allowed at least one key.
        """

    def value_and_gradient(self, fn: Callable[[Array], Array], x: Array) -> tuple[Array, Array]:
        """fn(x), a scalar, and its gradient (like x), both as constants: a loss may weigh another's gradient by it."""

    def ring_write(self, ring: Array, new: Array, slots: Array) -> Array:
        """The ring (B, H, W, K, E) with frames new (B, H, T, K, E) in its slots (T,). The given ring stays as it was,
        but inside an `Engine.Loop`, which owns its state: there it may be written in place, so use it no more."""


class Random(Protocol):
    """Counter-based random numbers (threefry-2x32, Salmon et al. 2011): one key gives the same on both sides."""

    def key(self, seed: int, like: Array | None = None) -> Array:
        """The key of a seed in 0 .. 2**64 - 1, on the device of `like`."""

    def split(self, key: Array, num: int = 2) -> list[Array]:
        """`num` new keys; the old one is not to be used again."""

    def uniform(self, key: Array, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> Array:
        """float32, evenly in [low, high)."""

    def normal(self, key: Array, shape: Sequence[int]) -> Array:
        """float32, of mean 0 and variance 1; equal on both sides but for the last bits of erfinv."""

    def bernoulli(self, key: Array, p: float, shape: Sequence[int]) -> Array:
        """bool, True with probability p."""

    def randint(self, key: Array, low: int, high: int, shape: Sequence[int]) -> Array:
        """int32, evenly in low .. high - 1; high - low at most 2**24."""


class Trainer(Protocol):
    """Trains a model: `Trainer(model, turns, *, precision="float32", accumulate=1, compile=False, sharded=False)`.

    turns: see `training/turn.py`. `ema` are the averages of the trained parameters by the model's names. sharded: each
    layer's weights are in parts, one a rank (PyTorch). Of several ranks all make the same calls.
    """

    ema: dict[str, Array]

    def step(self, batch: dict[str, np.ndarray], seed: int, rate: float = 1.0) -> dict[str, Array]:
        """One update by each turn, at `rate` times its learning rate; "loss", its parts, "grad_norm" before clipping,
        and "finite", which is 0 where nothing moved."""

    def operations(self, batch: dict[str, np.ndarray], seed: int = 0) -> list[tuple[str, str, int, dict, dict]]:
        """The operations of the losses and their gradients, as `Engine.count` gives them."""

    def state(self) -> dict[str, np.ndarray]:
        """All that a bit-exact resume needs of what is trained, and the model's buffers."""

    def load_state(self, state: dict[str, np.ndarray], source: str = "the training state") -> None:
        """Goes on from `state()` of either backend. MlxworldError unless names and shapes agree."""


class Loop(Protocol):
    """Functions that pass on one state of fixed shapes: `Loop({name: fn(state, *inputs) -> (outputs, state)})`.

    `Loop(functions, compile=name)` has one of them compiled, if need be in the background: it takes over at a `begin`.
    """

    def __call__(self, name: str, *inputs: Array) -> Tree:
        """The outputs of a function of the state, which goes on. The next call may overwrite them: `Engine.fetch`."""

    def begin(self, state: Tree) -> None:
        """A new state, whose shapes are those of the states before."""

    def state(self) -> Any:
        """The state now, for `restore`; it does not change while the loop goes on."""

    def restore(self, state: Any) -> None:
        """Back to a `state`: from there the same inputs give the same outputs, bit for bit."""

    def fork(self) -> "Loop":
        """Another loop of these functions, in the same state."""

    def settle(self) -> None:
        """Waits for what is being compiled."""


class Engine(Protocol):
    """The root that chooses device and precision, and what is native to a framework: files, compiling, train steps."""

    Trainer: type[Any]  # see Trainer above
    Loop: type[Any]  # see Loop above

    def device(self) -> str:
        """Where new arrays live: "cpu", "cuda" or "metal". `MLXWORLD_DEVICE=cpu` in the environment forces the CPU."""

    def rollout_precision(self, weights: str | None = None) -> str:
        """The fastest precision to play in: bfloat16 on M3 and later, float16 on other GPUs, float32 on the CPU, but
        bfloat16 on PyTorch where the chip multiplies in it and the `weights` are not quantised."""

    def array(self, x: Tree, dtype: str | None = None) -> Tree:
        """numpy arrays and numbers as arrays on the device; float64 becomes float32."""

    def numpy(self, x: Tree) -> Tree:
        """A copy as numpy arrays; bfloat16 becomes float32. Waits for the device."""

    def fetch(self, x: Tree) -> Callable[[], Tree]:
        """A function that returns `numpy(x)`; work and copy are under way at once, and outlive what overwrites x."""

    def parameters(self, module: Model) -> dict[str, Array]:
        """The same as `nn.parameters`."""

    def cast(self, model: Model, precision: str) -> Model:
        """The model itself, floating parameters now in "float32", "float16" or "bfloat16"; constants stay float32."""

    def place(self, model: Model) -> Model:
        """The model itself, on the device."""

    def packing(self, model: Model, kind: str) -> dict[str, dict[str, Any]]:
        """How `kind` packs each layer of a model that it packs, by the layer's name: see `quantized.how`."""

    def quantize(self, model: Model, kind: str) -> Model:
        """The placed model itself, for play alone: its matrices now "int8", "int4" or "mxfp8": see `quantized.py`,
        KINDS. MlxworldError for a kind that the backend lacks, or that needs a package which is not installed."""

    def ready(self, model: Model, precision: str, compiled: bool = False) -> Model:
        """The model itself, placed and cast for play alone; `compiled`: its step will be."""

    def copy(self, x: Tree) -> Tree:
        """Arrays that later calls of a `fixed` function leave alone."""

    def fixed(self, fn: Callable[..., Tree], model: Any = None) -> Callable[..., Tree]:
        """A function of arrays of fixed shapes, without gradients, as fast as the device runs it.

        The next call overwrites its results: `copy` what is to stay. `model`: one whose weights change between calls.
        """

    def runs_ahead(self) -> bool:
        """Whether a call returns before its results are there, so that the next can be begun meanwhile."""

    def leave_a_core(self) -> None:
        """On the CPU, leaves one core to whoever asks for the frames; for who plays, not for training."""

    def compile(self, fn: Callable[..., Tree]) -> Callable[..., Tree]:
        """`fn` compiled once for each set of shapes. It must have no side effects."""

    def inference(self) -> AbstractContextManager[Any]:
        """A context without gradients."""

    def rank(self) -> int:
        """The number of this process among those that train together, 0 first: rank 0 writes."""

    def ranks(self) -> int:
        """How many processes train together: those that torchrun or mlx.launch has started, else 1."""

    def mean(self, x: Tree) -> Tree:
        """Each array's mean over all ranks, in float32; waits for the slowest. Of one rank: x itself."""

    def memory(self) -> dict[str, int]:
        """Bytes that arrays hold now ("active") and held at most ("peak")."""

    def count(self, fn: Callable[..., Tree], /, *args: Tree) -> list[tuple[str, str, int, dict, dict]]:
        """The operations of fn(*args), in order: (name, kind, FLOPs, {array: bytes} read, {array: bytes} written).

        kind: "product" (has FLOPs), "pointwise" and "reduction" (compilers fuse these with their neighbours), "softmax"
        or "other". Views are left out.
        """

    def save(self, path: Path, arrays: Mapping[str, Any], metadata: dict[str, str] | None = None) -> None:
        """Writes safetensors whole or not at all: MlxworldError for a full disk, which leaves the old file."""

    def load(self, path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """Arrays and metadata of a safetensors file. MlxworldError for an absent, truncated or foreign one."""

    def build(self, make: Callable[[], Model]) -> Model:
        """make(), a model for weights that are loaded: its layers need not have first values."""

    def load_parameters(
        self, model: Model, arrays: dict[str, np.ndarray], source: str, precision: str | None = None
    ) -> None:
        """Sets every parameter, in `precision` if it is given. MlxworldError naming the first that differ, unless names
        and shapes agree."""
