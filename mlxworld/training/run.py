"""A training from its first step to a model that can be used, and how it survives. It knows stages, never a family.

Every step is a function of (settings, step) and every file is whole: killed at any moment, a run goes on from its last
checkpoint to the same weights, bit for bit on the CPU.
"""

import bisect
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .. import BACKENDS
from ..errors import MlxworldError
from ..files import checkpoint
from ..files.reading import parse_json
from . import additions, finetune
from .budget import Budget, interval, measure, shown
from .monitor import Monitor
from .recipe import Recipe
from .schedule import cosine, warmup
from .settings import TrainConfig
from .stage import Source, Stage, phases
from .together import agreed

PATIENCE = {"float16": 20}  # steps in a row that may be not finite, while the scale of the loss is sought; else none


class Run:
    """package, engine, model, config, cfg (the settings), out and monitor are for the recipe's stages to use.

    Of several ranks each has a Run, all do the same steps, and rank 0 alone writes; what a clock decides, it decides.
    """

    def __init__(
        self, package: ModuleType, cfg: TrainConfig, recipe: Recipe, monitor: Monitor, begun: float | None = None
    ):
        """begun: when the command did, by time.monotonic."""
        self.package, self.engine, self.cfg, self.recipe, self.monitor = package, package.engine, cfg, recipe, monitor
        self.out, self.checkpoint = Path(cfg.out), Path(cfg.out) / "checkpoint.safetensors"
        self.config = recipe.config
        self.model = recipe.model(self)
        if cfg.from_ is not None and not recipe.published:
            finetune.begin(self)
        recipe.begin(self)
        self.added = additions.begin(self)  # names of the parameters of a hook or of adapters, which alone learn
        self.engine.place(self.model)
        self.stages = additions.alone(recipe.stages(self), self.added, cfg.lora > 0)
        self._steps = {stage.name: stage.steps for stage in self.stages}  # planned, or done
        self._done: dict[str, np.ndarray] = {}  # what earlier stages trained: their averages, by the model's names
        self._trainer: Any = None
        self._budget: Budget | None = None
        self._log = cfg.log_steps
        self._seconds, self._bad = 0.0, 0  # trained before this start; steps in a row that were not finite
        self._sampled = self._saved = time.monotonic()
        self._begun = self._saved if begun is None else begun

    def go(self) -> None:
        """All stages that are not done yet. Raises MlxworldError for a loss that is not finite and for a full disk."""
        first, step, state = self._resumed()
        self._budget = Budget(self.cfg.minutes, self._spent(), time.monotonic) if self.cfg.minutes else None
        for index in range(first, len(self.stages)):
            stage = self.stages[index]
            if stage.steps:
                self._begin(stage, state)
                self._plan(index, step)
                self._train(index, step)
                self._end(index)
            state = self._handed_on(index)
            step = 0
        self._sample(len(self.stages) - 1, "final")
        self.save(len(self.stages), 0)

    def trainer(self, stage: Stage) -> Any:
        """A fresh trainer of what a stage trains."""
        options = {"precision": self.cfg.precision, "accumulate": stage.accumulate, "compile": self.cfg.compile}
        options["sharded"] = self.cfg.shard
        return self.engine.Trainer(self.model, stage.turns, **options)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """While it lasts, the model has the averages of what is being trained: what is shown, measured and shipped."""
        if self._trainer is None:
            yield
            return
        averages, nn = self._trainer.ema, self.package.nn
        present = {name: x for name, x in nn.parameters(self.model).items() if name in averages}
        present = self.engine.copy(present)
        nn.assign(self.model, averages)
        try:
            yield
        finally:
            nn.assign(self.model, present)

    def _begin(self, stage: Stage, state: dict[str, np.ndarray]) -> None:
        """The stage's trainer, fresh or from a state."""
        self._trainer = None
        if stage.prepare:
            stage.prepare()
        self._trainer = self.trainer(stage)
        if state:
            self._trainer.load_state(state, str(self.checkpoint))

    def _plan(self, index: int, done: int) -> None:
        """Steps of the stage, where there is a budget of time, from what its steps take here."""
        stage, budget = self.stages[index], self._budget
        if budget is None or (done and done == self._steps[stage.name]):
            return
        pace = measure(self.engine, self._trainer, stage, self._seed(index))
        later = [s for s in self.stages[index + 1 :] if s.steps]
        if not later:
            begun = time.monotonic()
            self._sample(index, f"{index + 1}-{stage.name}-{done:06d}")
            self.save(index, done)
            budget.reserve = max(budget.reserve, 1.5 * (time.monotonic() - begun))
        try:
            steps = self._steps[stage.name] = int(agreed(self.engine, budget.begin(stage, later, pace, done)))
        except MlxworldError as error:
            if self.checkpoint.exists():
                raise MlxworldError(f"{error}; go on with --resume and more --minutes") from error
            raise
        self._log = interval(steps - done, self.cfg.log_steps)
        each, seconds = ", ".join(f"{1e3 * s:.0f}" for s in pace.seconds), pace.between(done, steps)
        self.monitor.say(
            f"{stage.name}: {steps:,} steps of {each} ms, {shown(seconds)} of {shown(60 * budget.minutes)}; compiled "
            f"and timed in {shown(pace.measuring)}, {shown(budget.left() - seconds)} are left for "
            f"{', '.join([s.name for s in later]) or 'the end'}"
        )

    def _train(self, index: int, step: int) -> None:
        """The steps of a stage after the first `step`."""
        stage, before = self.stages[index], sum(self._steps[s.name] for s in self.stages[:index])
        self.monitor.stage(stage.name, self._steps[stage.name], step, before)
        while step < self._steps[stage.name]:
            part = self._part(index, step)
            with contextlib.closing(stage.batches[part](step)) as batches:
                step = self._train_part(index, part, step, batches)

    def _train_part(self, index: int, part: int, step: int, batches: Source) -> int:
        """The steps of one part of a stage's curriculum from `step` on. The device is waited for at log steps only."""
        stage, name, seed = self.stages[index], self.stages[index].name, self._seed(index)
        pending, waited, reported = [], 0.0, time.monotonic()
        while self._part(index, step) == part:
            asked = time.monotonic()
            batch = next(batches)
            waited += time.monotonic() - asked
            batch = stage.extend(batch, step) if stage.extend else batch
            rate = cosine(step, self._steps[name], warmup(self._steps[name]))
            pending.append(self._trainer.step(batch, seed * 2**32 + step, rate))
            step += 1
            if step % self._log == 0 or self._part(index, step) != part:
                share = waited / (time.monotonic() - reported)  # without a batch: the loader is too slow
                self._report(name, step, pending, {"lr": stage.turns[0].optim.lr * rate, "part": part, "wait": share})
                pending, waited, reported = [], 0.0, time.monotonic()
                self._correct(name, step)
                self._keep(index, step)
        return step

    def _part(self, index: int, step: int) -> int:
        """The part of a stage's curriculum that a step belongs to; their number, when the stage is done."""
        stage = self.stages[index]
        return bisect.bisect_right([end for _, end in phases(len(stage.batches), self._steps[stage.name])], step)

    def _correct(self, name: str, step: int) -> None:
        """The stage's steps, where there is a budget of time, from what its steps have taken so far."""
        if self._budget is not None and step < self._steps[name]:
            steps = int(agreed(self.engine, self._budget.correct(step, self._steps[name])))
            self._log = interval(steps - step, self.cfg.log_steps)
            if steps != self._steps[name]:
                self._steps[name] = steps
                self.monitor.steps(steps)

    def _end(self, index: int) -> None:
        """What a stage trained is its average from here on, unless the next stage goes on with it."""
        self._done |= self.engine.numpy(self._trainer.ema)
        if not self._continued(index):
            self.package.nn.assign(self.model, self._trainer.ema)

    def _handed_on(self, index: int) -> dict[str, np.ndarray]:
        """What the next stage's trainer begins with."""
        if self._continued(index) and self._trainer is not None:
            return self._trainer.state()
        self._trainer = None
        return {}

    def _continued(self, index: int) -> bool:
        """Whether a later stage goes on where this one stops."""
        following = next((s for s in self.stages[index + 1 :] if s.steps), None)
        return following is not None and following.continues

    def _seed(self, index: int) -> int:
        return self.cfg.seed * 8 + index

    def _report(self, name: str, step: int, pending: list, settings: dict[str, float]) -> None:
        """Reads the metrics of the last steps, which waits for the device, and shows their means."""
        rows = [self.engine.numpy(metrics) for metrics in pending]
        for metrics in rows:
            self._bad = 0 if metrics["finite"] else self._bad + 1
            if self._bad >= PATIENCE.get(str(self.cfg.precision), 1):
                saved = self.checkpoint.exists()
                state = f"the last good checkpoint is {self.checkpoint}" if saved else "no checkpoint was saved yet"
                advice = f"go on with --resume and a lower --{name}.lr" if saved else f"try a lower --{name}.lr"
                raise MlxworldError(f"the loss of {name} is not finite before step {step}: {state}; {advice}")
        good = [metrics for metrics in rows if metrics["finite"]]
        means = {key: float(np.mean([m[key] for m in good])) for key in (good[0] if good else ()) if key != "finite"}
        self.monitor.update(step, means | settings if good else {})

    def _keep(self, index: int, step: int) -> None:
        """A sample and a checkpoint, if it is time."""
        stage = self.stages[index]
        now = time.monotonic()
        if agreed(self.engine, now - self._sampled > 60 * self.cfg.sample_minutes):
            self._sample(index, f"{index + 1}-{stage.name}-{step:06d}")
        if agreed(self.engine, now - self._saved > 60 * self.cfg.save_minutes or step == self._steps[stage.name]):
            self.save(index, step)

    def save(self, index: int, step: int) -> None:
        """The model as it is now, then a checkpoint, each whole: `step` steps of stage `index` are done."""
        state = {} if self._trainer is None else self._trainer.state()
        with self.averaged():
            if self.engine.rank() == 0:
                self._write(index, step, state)
        self._saved = time.monotonic()

    def _write(self, index: int, step: int, state: dict[str, np.ndarray]) -> None:
        """The model's averages, which it has now, and a checkpoint with the trainer's state."""
        seconds = self._spent()
        self.recipe.write(self)
        additions.save(self)
        self.recipe.save(self, self._card(index, step, seconds), index == len(self.stages))
        state |= {f"done.{n}": x for n, x in self._done.items()} | {"place": np.array([index, step])}
        state |= {"seconds": np.array(seconds), "steps": np.array([self._steps[s.name] for s in self.stages])}
        metadata = {"format": "2", "dataset": json.dumps(self.recipe.identity)}
        checkpoint.save(self.checkpoint, state, metadata)

    def _spent(self) -> float:
        """Seconds of this start and of those before, up to the checkpoint that each went on from."""
        return self._seconds + time.monotonic() - self._begun

    def _card(self, index: int, step: int, seconds: float) -> dict[str, Any]:
        """What a model's card says of its training; hours are those that it took."""
        steps = {s.name: self._steps[s.name] if i < index else step * (i == index) for i, s in enumerate(self.stages)}
        backend = next(name for name, (package, _) in BACKENDS.items() if package == self.package.__name__)
        where = {"backend": backend, "device": self.engine.device(), "precision": self.cfg.precision}
        about = {"preset": self.cfg.preset, "steps": steps, "hours": round(seconds / 3600, 3)}
        return dict(self.recipe.card) | about | where

    def _sample(self, index: int, name: str) -> None:
        sample = self.stages[index].sample
        if sample is not None:
            path = self.out / "samples" / name
            with self.averaged():
                if self.engine.rank() == 0:
                    sample(path)
            self.monitor.sample(path)
        self._sampled = time.monotonic()

    def _resumed(self) -> tuple[int, int, dict[str, np.ndarray]]:
        """A stage, its steps that are done and the trainer's state: of the last checkpoint, if this run resumes."""
        if not (self.cfg.resume and self.checkpoint.exists()):
            return 0, 0, {}
        state, about = checkpoint.load(self.checkpoint)
        try:
            index, step = map(int, state.pop("place"))
            self._seconds, dataset = float(state.pop("seconds")), parse_json(about["dataset"], str(self.checkpoint))
            steps = dict(zip(self._steps, map(int, state.pop("steps")), strict=True))
        except (KeyError, ValueError) as error:
            raise MlxworldError(f"{self.checkpoint} is not the checkpoint of a training") from error
        self.recipe.require(dataset)
        if index == len(self.stages):
            raise MlxworldError(f"{self.out} is done: choose another --out, or {self.recipe.use.format(out=self.out)}")
        self._steps |= steps if self.cfg.minutes else {}
        self._done = {n.removeprefix("done."): state.pop(n) for n in list(state) if n.startswith("done.")}
        self.package.nn.assign(self.model, self.engine.array(self._done))
        self.monitor.resumed(sum(self._steps[s.name] for s in self.stages[:index]) + step)
        self.monitor.say(f"goes on after step {step} of {self.stages[index].name}")
        return index, step, state
