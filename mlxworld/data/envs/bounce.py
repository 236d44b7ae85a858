"""A physics world of our own: balls and blocks that fall, bounce and sound; actions push one of them.

Every collision is heard when it happens: its impulse sets the loudness, the body its pitch. The simulator's exact
state is saved beside each frame, so that physics can be learnt and judged. Units: pixels of 128, kilograms-like
masses (area / 100), seconds; y points down.
"""

from typing import Any

import numpy as np

from ...errors import MlxworldError
from .source import Step, require, seeds
from .voices import Voices

SIZE = 128
GRAVITY, ELASTICITY, FRICTION = 120.0, 0.95, 0.2
PUSH = 600.0  # acceleration of the pushed ball
SUBSTEPS = 8  # of physics, a frame
BACK, PALETTE = (24, 26, 40), ((240, 200, 60), (90, 170, 240), (230, 90, 100), (120, 210, 130), (190, 130, 230))
CLOTH = (70, 74, 96)
SCENES = (
    "ball",
    "many",
    "collisions",
    "gravity",
    "friction",
    "occlusion",
)  # each adds one difficulty to the one before
PARKED = -40.0  # where bodies are that a scene does not have
CURTAIN = (48, 80)  # columns of the picture that nothing is seen in
QUIET, LOUD = 20.0, 1500.0  # impulses that are just heard, and that are as loud as can be


class Bounce:
    """Three balls (the yellow one is pushed) and two blocks in a closed room: the scene "friction".

    Scenes (SCENES) rise in difficulty: one ball in weightlessness; three, which pass through one another; which
    collide; which fall; with two blocks, and all surfaces rough; behind a curtain. "curriculum" draws one for each
    episode. A body that a scene does not have is outside the room, at rest.

    State per frame, N = 5 bodies: position (N, 2), velocity (N, 2), angle (N,), spin (N,), mass (N,), inertia (N,),
    kinetic (N,) and potential (N,) energy, and energy, their sum; impulse (N, N + 1), the largest with which body i and
    body j first touched during the step, 0 where none did, the walls last; pitch (N,), of each body's sound, in Hz;
    and scene, its number.
    """

    name, fps, samples = "bounce", 30, 1024
    licence = "CC0-1.0"
    actions: tuple[str, ...] = ("noop", "left", "right", "up", "down")
    laws: tuple[str, ...] = ("teleport", "vanish", "pass", "energy")  # what `violate` breaks
    _PUSHES = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))

    def __init__(self, scene: str = "friction"):
        """Raises MlxworldError for an unknown scene."""
        if scene not in (*SCENES, "curriculum"):
            raise MlxworldError(f"unknown scene {scene!r} of bounce: choose one of {', '.join(SCENES)}, curriculum")
        self.name = "bounce" if scene == "friction" else f"bounce:{scene}"
        self._name = scene
        if scene in ("ball", "many"):  # one body meets no other, and three pass through one another as it is
            self.laws = tuple(law for law in self.laws if law != "pass")
        self._pymunk: Any = require("pymunk", "physics")

    def reset(self, seed: int) -> Step:
        """A new room: sizes, places and speeds are drawn."""
        pymunk, rng = self._pymunk, seeds(seed)
        self._space = pymunk.Space()
        drawn = np.random.default_rng([seed, 4]).integers(len(SCENES))
        self._scene = int(drawn) if self._name == "curriculum" else SCENES.index(self._name)
        self._gravity = GRAVITY if self._scene >= SCENES.index("gravity") else 0.0
        self._space.gravity = (0, self._gravity)
        self._sub, self._voices = 0, Voices(self.fps * self.samples, self.samples)
        corners = [(0, 0), (SIZE, 0), (SIZE, SIZE), (0, SIZE)]
        for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
            thick = 20  # the walls' inner side is the border of the picture
            outward = np.array([(start[1] + end[1]) / SIZE - 1, (start[0] + end[0]) / SIZE - 1])[::-1] * thick
            wall = pymunk.Segment(self._space.static_body, tuple(start + outward), tuple(end + outward), thick)
            wall.elasticity, wall.friction = ELASTICITY, FRICTION
            self._space.add(wall)
        self._bodies, self._shapes = [], []
        self._impulse = np.zeros((5, 6), np.float32)
        places = rng.permutation([(x, y) for x in (22, 64, 106) for y in (24, 62)])
        for i in range(5):
            self._add(i, places[i] + rng.uniform(-4, 4, 2), rng)
        self._space.on_collision(post_solve=self._hit)
        return self._see(np.zeros(self.samples, np.float32))

    def _add(self, i: int, place: np.ndarray, rng: np.random.Generator) -> None:
        pymunk = self._pymunk
        half = rng.uniform(7, 12, 2)
        if i < 3:
            mass = np.pi * half[0] ** 2 / 100
            body = pymunk.Body(mass, pymunk.moment_for_circle(mass, 0, half[0]))
            shape = pymunk.Circle(body, half[0])
        else:
            mass = 4 * half[0] * half[1] / 100
            body = pymunk.Body(mass, pymunk.moment_for_box(mass, tuple(2 * half)))
            shape = pymunk.Poly.create_box(body, tuple(2 * half))
            body.angle = rng.uniform(0, np.pi)
        body.position, body.velocity = tuple(place), tuple(rng.normal(0, 60, 2))
        shape.elasticity, shape.friction = ELASTICITY, FRICTION
        body.half, body.pitch = half, 330 * 2 ** (rng.integers(0, 5) / 6 + i * 0.45)
        if self._scene < SCENES.index("friction"):
            shape.friction = 0.0
        if self._scene == SCENES.index("many"):
            shape.filter = pymunk.ShapeFilter(group=1)  # shapes of one group do not touch
        if i < (1 if self._scene == SCENES.index("ball") else 3 if self._scene < SCENES.index("friction") else 5):
            self._space.add(body, shape)
        else:
            body.position, body.velocity, body.angle = (PARKED, PARKED), (0, 0), 0
        self._bodies.append(body)
        self._shapes.append(shape)

    def step(self, action: int) -> Step:
        """One thirtieth of a second, the yellow ball pushed in the action's direction."""
        push = np.array(self._PUSHES[action]) * PUSH * self._bodies[0].mass
        self._impulse = np.zeros_like(self._impulse)
        for self._sub in range(SUBSTEPS):
            self._bodies[0].apply_force_at_world_point(tuple(push), self._bodies[0].position)
            self._space.step(1 / (self.fps * SUBSTEPS))
        return self._see(self._voices.frame())

    def violate(self, law: str, seed: int) -> None:
        """From the next step on something happens that cannot: a body drawn from `seed` is elsewhere ("teleport"), is
        gone ("vanish") or leaps up from nothing ("energy"), or bodies no longer stop each other ("pass"). Walls stay.
        """
        pymunk, rng = self._pymunk, np.random.default_rng([seed, 3])
        i = int(rng.choice([k for k, body in enumerate(self._bodies) if body.space is not None]))
        body = self._bodies[i]
        if law == "teleport":
            places = rng.uniform(14, SIZE - 14, (64, 2))
            far = np.linalg.norm(places - np.array(body.position), axis=-1) > 40
            body.position = tuple(places[far][0])
        elif law == "vanish":
            self._space.remove(body, self._shapes[i])
        elif law == "energy":
            body.velocity = (float(rng.choice([-1, 1])) * 120, -320)
        elif law == "pass":
            for shape in self._shapes:
                shape.filter = pymunk.ShapeFilter(group=1)  # shapes of one group never touch; walls are of none
        else:
            raise MlxworldError(f"unknown law {law!r}: choose one of {', '.join(self.laws)}")

    def _hit(self, arbiter: Any, space: Any, data: Any) -> None:
        """Called by the simulator for each contact: a first touch starts a sound of each moving body."""
        impulse = arbiter.total_impulse.length
        if not arbiter.is_first_contact:
            return
        one, two = (self._bodies.index(s.body) if s.body in self._bodies else -1 for s in arbiter.shapes)
        for body, other in ((one, two), (two, one)):
            if body >= 0:
                self._impulse[body, other] = max(self._impulse[body, other], impulse)
        if impulse < QUIET:
            return
        start = self._voices.time + self._sub * self.samples // SUBSTEPS
        loud = min(1.0, (impulse - QUIET) / (LOUD - QUIET)) ** 0.5
        pitches = [shape.body.pitch for shape in arbiter.shapes if shape.body is not space.static_body]
        for pitch in pitches:
            self._voices.strike(start, pitch, 0.5 * loud / len(pitches), 14 + pitch / 60)

    def _see(self, sound: np.ndarray) -> Step:
        position = np.array([body.position for body in self._bodies])
        velocity = np.array([body.velocity for body in self._bodies])
        angle, spin, mass, inertia = (
            np.array([getattr(body, name) for body in self._bodies])
            for name in ("angle", "angular_velocity", "mass", "moment")
        )
        kinetic = 0.5 * mass * (velocity**2).sum(1) + 0.5 * inertia * spin**2
        potential = mass * self._gravity * (SIZE - position[:, 1])
        state = {
            "position": position,
            "velocity": velocity,
            "angle": angle,
            "spin": spin,
            "mass": mass,
            "inertia": inertia,
            "kinetic": kinetic,
            "potential": potential,
            "energy": np.array(kinetic.sum() + potential.sum()),
            "impulse": self._impulse.copy(),
            "pitch": np.array([body.pitch for body in self._bodies]),
            "scene": np.array(self._scene),
        }
        return Step(self._draw(), sound, False, state)

    def _draw(self) -> np.ndarray:
        """The room (SIZE, SIZE, 3) uint8, edges smoothed by their distance to each pixel's middle."""
        picture = np.empty((SIZE, SIZE, 3), np.float32)
        picture[:] = BACK
        for i, (body, colour) in enumerate(zip(self._bodies, PALETTE, strict=True)):
            if body.space is None:
                continue
            (x, y), reach = body.position, int(np.hypot(*body.half)) + 2
            top, left = max(0, int(y) - reach), max(0, int(x) - reach)
            part = picture[top : int(y) + reach + 1, left : int(x) + reach + 1]
            dy = np.arange(top, top + part.shape[0])[:, None] + 0.5 - y
            dx = np.arange(left, left + part.shape[1])[None] + 0.5 - x
            cos, sin = np.cos(body.angle), np.sin(body.angle)
            if i < 3:
                inside = body.half[0] - np.hypot(dx, dy)
            else:
                across, along = np.abs(cos * dx + sin * dy), np.abs(cos * dy - sin * dx)
                inside = np.minimum(body.half[0] - across, body.half[1] - along)
            cover = np.clip(inside + 0.5, 0, 1)[..., None].astype(np.float32)
            part += cover * (np.array(colour, np.float32) - part)
        if self._scene == SCENES.index("occlusion"):
            picture[:, slice(*CURTAIN)] = CLOTH
        return (picture + 0.5).astype(np.uint8)

    def close(self) -> None:
        """Nothing to give back."""
