"""Keys and values of the past, kept in arrays of fixed shapes. `update` is pure: it gives a new cache.

A store (B, G, N, K, E) is an array, or bytes about 128 with a float32 scale for each token and head, which take half
the memory of float16. B batch, G heads, N slots, K tokens of a slot, E width of a head, T new frames.
"""

from typing import Any

from ... import ops
from ..arrays import Array

Store = Any  # an array, or {"bytes", "scale"}


def empty(shape: tuple[int, ...], like: Array, int8: bool = False) -> Store:
    """A store of zeros, in the dtype of `like`, or of bytes."""
    if not int8:
        return ops.zeros(shape, like=like)
    scale = ops.float32(ops.zeros((*shape[:-1], 1), like=like))
    return {"bytes": ops.uint8(ops.full(shape, 128, like=like)), "scale": scale}


def write(store: Store, new: Array, slots: Array) -> Store:
    """The store with frames new (B, G, T, K, E) in its slots (T,)."""
    if not isinstance(store, dict):
        return ops.ring_write(store, new, slots)
    new = ops.float32(new)  # bfloat16 has no halves between odd bytes: all would round up
    scale = ops.max(ops.abs(new), axis=-1, keepdims=True) / 127
    whole = ops.uint8(new / (scale + 1e-12) + 128)
    return {
        "bytes": ops.ring_write(store["bytes"], whole, slots),
        "scale": ops.ring_write(store["scale"], scale, slots),
    }


def read(store: Store, like: Array) -> Array:
    """All slots (B, G, N, K, E): bytes in the dtype of `like`, an array as it is."""
    if not isinstance(store, dict):
        return store
    return ops.cast((ops.float32(store["bytes"]) - 128) * store["scale"], like=like)


class Ring:
    """The last N frames: new ones take the slots that the caller names, the oldest."""

    def __init__(self, stores: tuple[Store, Store], slots: Array):
        """stores: of keys and of values; slots (T,): where the T new frames go."""
        self.stores, self.slots = stores, slots

    def update(self, k: Array, v: Array) -> tuple[Array, Array, "Ring"]:
        """k, v (B, G, T, K, E), new -> keys and values of all slots (B, G, N, K, E), and the ring that holds them."""
        stores = write(self.stores[0], k, self.slots), write(self.stores[1], v, self.slots)
        return read(stores[0], like=k), read(stores[1], like=v), Ring(stores, self.slots)


class Start:
    """What a prompt leaves in N slots: all of it, then empty slots; or the last N frames, frame t in slot t % N."""

    def __init__(self, slots: int):
        self.slots = slots

    def update(self, k: Array, v: Array) -> tuple[Array, Array, tuple[Array, Array]]:
        """k, v (B, G, T, K, E) -> the same, and the stores (B, G, N, K, E) for a `Ring`."""
        return k, v, (self._kept(k), self._kept(v))

    def _kept(self, x):
        T, N = x.shape[2], self.slots
        if T <= N:
            return ops.pad(x, [(0, 0), (0, 0), (0, N - T), (0, 0), (0, 0)])
        return ops.roll(x[:, :, T - N :], T % N, axis=2)


class Growing:
    """All frames from the first on, up to N of them: new ones follow those that are there."""

    def __init__(self, stores: tuple[Store, Store], length: Array):
        """stores: of keys and of values; length (1,) int32: the frames that are there."""
        self.stores, self.length = stores, length

    def update(self, k: Array, v: Array) -> tuple[Array, Array, "Growing"]:
        """As `Ring.update`. Slots from the new length on hold nothing yet: see `seen`."""
        T = k.shape[2]
        slots = self.length + ops.arange(T, like=self.length)
        stores = write(self.stores[0], k, slots), write(self.stores[1], v, slots)
        return read(stores[0], like=k), read(stores[1], like=v), Growing(stores, self.length + T)

    def seen(self, frames: int, slots: int) -> Array:
        """Which of the slots each of the next frames may look at, itself included: booleans (T, N)."""
        place = self.length + ops.arange(frames, like=self.length)
        return ops.arange(slots, like=self.length)[None] <= place[:, None]
