"""Predictive coding: every layer learns from its own error (Whittington and Bogacz 2017).

A value v_l stands after each layer l = 1 .. n, beside what the layer predicts, f_l(v_{l-1}); v_0 is the input. With
M, the vectors of a layer's values, and L, a loss of means that is read from the last values,

    F = sum_l 1/2 pi_l |v_l - f_l(v_{l-1})|^2 + beta M L(v_n).

Values begin as those of the forward pass and move down F's slope T times; then weights move down F's slope, values
held. F is a sum of terms of one layer each, so a weight sees its own layer's error and input, nothing else. beta -> 0
is backprop. beta = 1 clamps the output, whose energy L is (of 1/2 |y - f|^2, as in the paper; of cross entropy, as in
Pinchetti et al. 2022); less nudges it, whatever the loss. pi_l, an inverse variance, is `precisions` over the mean
square of each vector of the forward pass, so that neither the size of values nor their norms set the pace.

A model takes part by a relay: it gives it the output of every layer, and goes on with what it gets back.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from mlxworld.configs.predictive_coding import PredictiveCodingConfig

from ... import ops
from ..arrays import Array

Relay = Callable[[Array], Array]  # a layer's prediction -> the value that is read in its place
Loss = Callable[[Relay], tuple[Array, dict[str, Array]]]
EPS, TINY = 1e-6, 1e-30  # of mean squares; of what divides
Meet = Callable[[int, Array], tuple[Array, Any]]  # number of a layer, its prediction -> its value, its term of F


def chain(layers: Sequence[Callable[[Array], Array]], x: Array, relay: Relay | None = None) -> Array:
    """x through the layers, the relay after each."""
    for layer in layers:
        x = layer(x) if relay is None else relay(layer(x))
    return x


def predictive_coding(
    loss: Loss, cfg: PredictiveCodingConfig, share: Array | float = 1.0
) -> tuple[Array, dict[str, Array]]:
    """A scalar whose value is the loss of the forward pass and whose gradient is that of F / (beta M), and its parts.

    loss(relay) -> (scalar, parts): the same numbers each time it is called; it assigns no buffers. share: of this
    gradient, the rest being backprop's. "free_energy" is F / (beta M): below the loss, if the steps are short enough.
    Raises ValueError where no layer uses the relay, and where precisions do not fit the layers.
    """
    plain, parts, start = _forward(loss)
    if not start:
        raise ValueError("predictive coding: the loss hands no layer's output to the relay")
    if len(start) % len(cfg.precisions):
        raise ValueError(f"predictive coding: {len(cfg.precisions)} precisions do not fit {len(start)} layers")
    inference = Inference(loss, cfg, start)
    last, terms = inference.learn()
    local = terms / inference.scale + last
    if isinstance(share, float) and share == 1.0:
        plain = ops.stop_gradient(plain)
        total = local + ops.stop_gradient(plain - local)
    else:
        total = (1 - share) * plain + share * local
        total = total + ops.stop_gradient(plain - total)
    return total, parts | {"free_energy": ops.stop_gradient(local)}


class Inference:
    """The values of all layers, from those of the forward pass, `start`, to where the weights learn from them."""

    def __init__(self, loss: Loss, cfg: PredictiveCodingConfig, start: Sequence[Array]):
        self.loss, self.cfg, self.start = loss, cfg, start
        self.scale = cfg.nudge * sum(math.prod(x.shape[:-1]) for x in start) / len(start)  # beta M
        given = [cfg.precisions[n % len(cfg.precisions)] for n in range(len(start))]
        self.precision = [
            p / (ops.square(x).mean(axis=-1, keepdims=True) + EPS) for p, x in zip(given, start, strict=True)
        ]
        self.variance = self._flat([0 * x + 1 / p for p, x in zip(self.precision, start, strict=True)])  # 1 / pi

    def settled(self) -> list[Array]:
        """The values after T steps down F's slope, as long as rate / pi.

        The rate of the first is given, that of the others follows from how the slope has changed since the step before
        (Barzilai and Borwein 1988): values of layers that pull hard at each other need short ones.
        """
        values, rate = self._flat(self.start), ops.float32(ops.array(self.cfg.inference_rate, like=self.variance))
        last: tuple[Array, Array] | None = None  # move and slope of the step before

        def meet(own, layer, prediction):
            return own[layer], self._term(layer, own[layer] - prediction)

        for _ in range(self.cfg.inference_steps):
            slope = self._slope(meet, values)
            if last is not None:
                change, move = slope - last[1], last[0]
                rate = ops.abs((move * change).sum()) / ((self.variance * ops.square(change)).sum() + TINY)
                rate = ops.clip(rate, 0.0, 1.0)
            last = -rate * self.variance * slope, slope
            values = values + last[0]
        return self._parted(values)

    def fixed(self) -> list[Array]:
        """The errors e_l = v_l - f_l after T steps of rate 1, predictions and slopes being those of the forward pass.

        A step brings the error one layer down, whole: n steps are backprop (Millidge et al. 2020).
        """
        still = self._flat(self.start) * 0
        errors = still
        for _ in range(self.cfg.inference_steps):
            pulls = [p * e for p, e in zip(self.precision, self._parted(errors), strict=True)]

            def meet(moved, layer, prediction, pulls=pulls):  # -pull * f slopes as what the layer above hands down
                return self.start[layer] + moved[layer], -(pulls[layer] * prediction).sum()

            errors = -self.variance * self._slope(meet, still)
        return self._parted(errors)

    def analytical(self) -> list[Array]:
        """The errors at rest to first order in beta, without steps: pi_l e_l = -beta M dL/dv_l at the forward pass.

        One sweep down the whole model, not a rule of single layers. The values are moved by them, v_l = f_l(v_{l-1}) +
        e_l; left out is that slopes change where values move, and that T steps may not have brought values to rest.
        """

        def meet(errors, layer, prediction):
            return prediction + errors[layer], 0

        return self._parted(-self.variance * self._slope(meet, self._flat(self.start) * 0))

    def learn(self) -> tuple[Array, Any]:
        """The loss at the last values, and F's terms: values are constants, so each reaches one layer's weights."""
        cfg = self.cfg
        state = self.analytical() if cfg.analytical else self.fixed() if cfg.fixed_prediction else self.settled()

        def meet(layer, prediction):
            held, own = ops.stop_gradient(prediction), state[layer]
            if cfg.analytical or cfg.fixed_prediction:  # errors, exact however small beside the values
                value, error = held + own if cfg.analytical else held, own + (held - prediction)
            else:
                value, error = own, own - prediction
            return value, self._term(layer, error)

        terms, last, _ = _run(self.loss, meet)
        return last, terms

    def _term(self, layer, error):
        return 0.5 * (self.precision[layer] * ops.square(error)).sum()

    def _slope(self, meet, x):
        """The gradient at x of the terms of meet(x of each layer, layer, prediction) and of beta M L."""

        def energy(x: Array) -> Array:
            own = self._parted(x)
            terms, plain, _ = _run(self.loss, lambda layer, prediction: meet(own, layer, prediction))
            return terms + self.scale * plain

        return ops.value_and_gradient(energy, x)[1]

    def _flat(self, arrays):
        """All of them as one vector."""
        return ops.concat([x.reshape(-1) for x in arrays])

    def _parted(self, x):
        """A vector as arrays of the values' shapes."""
        parts = ops.split(x, [math.prod(y.shape) for y in self.start])
        return [part.reshape(y.shape) for part, y in zip(parts, self.start, strict=True)]


def _forward(loss: Loss) -> tuple[Array, dict[str, Array], list[Array]]:
    """The loss, its parts, and what each layer gives."""
    start: list[Array] = []

    def meet(layer, prediction):
        start.append(ops.stop_gradient(prediction))
        return prediction, 0

    _, plain, parts = _run(loss, meet)
    return plain, parts, start


def _run(loss: Loss, meet: Meet) -> tuple[Any, Array, dict[str, Array]]:
    """The terms of F that `meet` gives, added up; the loss, and its parts."""
    terms: list[Any] = []

    def relay(prediction: Array) -> Array:
        value, term = meet(len(terms), ops.float32(prediction))
        terms.append(term)
        return ops.cast(value, like=prediction)

    plain, parts = loss(relay)
    return sum(terms), ops.float32(plain), parts
