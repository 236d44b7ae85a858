"""A room in three dimensions, simulated by MuJoCo: balls and boxes that roll down a ramp, collide and sound; actions
move a pusher over the floor.

The picture is cast by MuJoCo's own rays, the sound is modal synthesis driven by the forces of its contacts: neither
needs a display or a GPU. Units: metres, kilograms, seconds; z points up, y away from who looks.
"""

from typing import Any

import numpy as np

from .source import Step, require, seeds
from .voices import Voices

SIZE = 128
SUBSTEPS = 16  # of physics, a frame
BALLS, BOXES = 3, 2
REACH = 0.9  # half the room's width and depth
SPEED = 1.6  # that the pusher is driven at
EYE, AT, LENS = (0.0, -2.6, 1.7), (0.0, -0.05, 0.3), 2.0  # the camera, what it looks at, its focal length
LIGHT = np.array([-0.4, -0.5, 0.77])
SKY = (24, 26, 40)
STATIC = {"floor": (96, 98, 112), "ramp": (140, 128, 110), "back": (70, 74, 96), "left": (62, 66, 86)}
STATIC |= {"right": (62, 66, 86), "front": SKY}  # nothing is seen of the front wall: rays begin behind it
PALETTE = ((240, 200, 60), (90, 170, 240), (230, 90, 100), (120, 210, 130), (190, 130, 230), (225, 225, 230))
QUIET, LOUD = 0.02, 2.0  # rises of a contact's force, as impulses, that are just heard, and that are as loud as can be
MODES = {  # frequency over the body's pitch, loudness, decay a second at 330 Hz
    "ball": ((1.0, 1.0, 9.0), (2.32, 0.5, 16.0), (4.25, 0.25, 28.0)),
    "box": ((1.0, 1.0, 30.0), (1.58, 0.6, 42.0), (2.24, 0.4, 60.0)),
}


class MujocoRoom:
    """Three balls, two boxes and a pusher, the last body, in a room with a ramp.

    State per frame, N = 6 bodies: position (N, 3), velocity (N, 3), spin (N, 3) in the body's frame, orientation
    (N, 4), a quaternion, mass (N,), kinetic (N,) and potential (N,) energy, energy, their sum, impulse (N, N + 1), of
    contacts that began in the step between body i and body j, the room last, and pitch (N,), in Hz.
    """

    name, fps, samples = "mujoco", 30, 1024
    licence = "CC0-1.0"
    actions: tuple[str, ...] = ("noop", "left", "right", "near", "away")
    _PUSHES = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))

    def __init__(self):
        self._mujoco: Any = require("mujoco", "mujoco")
        self._rays = _rays()
        self._directions = self._rays.astype(np.float32)

    def reset(self, seed: int) -> Step:
        """A new room: sizes, places, speeds and the ramp's slope are drawn."""
        rng = seeds(seed)
        self._bodies = BALLS + BOXES + 1
        half = np.append(rng.uniform(0.09, 0.16, BALLS), rng.uniform(0.09, 0.14, BOXES))
        places = rng.permutation([(x, y) for x in (-0.45, 0.0, 0.5) for y in (-0.4, 0.3)])[: BALLS + BOXES]
        self._model = self._mujoco.MjModel.from_xml_string(_room(half, places, rng))
        self._data = self._mujoco.MjData(self._model)
        for i in range(BALLS + BOXES):
            self._data.qvel[6 * i : 6 * i + 3] = rng.normal(0, 1, 3)
        self._pitch = 330 * 2 ** (rng.integers(0, 5, self._bodies) / 6 + np.arange(self._bodies) * 0.3)
        names = [self._model.geom(i).name for i in range(self._model.ngeom)]
        self._owner = np.array([int(name[4:]) if name.startswith("body") else -1 for name in names])
        colours = [PALETTE[o] if o >= 0 else STATIC[name] for o, name in zip(self._owner, names, strict=True)]
        self._colours = np.array([*colours, SKY], np.float32)
        self._forces: dict[tuple[int, int], float] = {}
        self._impulse = np.zeros((self._bodies, self._bodies + 1), np.float32)
        self._voices = Voices(self.fps * self.samples, self.samples)
        self._mujoco.mj_kinematics(self._model, self._data)
        self._room_colour, self._room_far = self._cast(np.full(len(self._rays), True), group=0)
        return self._see(np.zeros(self.samples, np.float32))

    def step(self, action: int) -> Step:
        """One thirtieth of a second, the pusher driven in the action's direction."""
        self._data.ctrl[:] = SPEED * np.array(self._PUSHES[action])
        self._impulse[:] = 0
        begun: set[tuple[int, int]] = set()
        for sub in range(SUBSTEPS):
            self._mujoco.mj_step(self._model, self._data)
            self._touch(self._voices.time + sub * self.samples // SUBSTEPS, begun)
        return self._see(self._voices.frame())

    def _touch(self, start: int, begun: set[tuple[int, int]]) -> None:
        """Contacts of the last substep: where a force rises, the modes of both bodies are struck by its rise."""
        forces: dict[tuple[int, int], float] = {}
        force, dt = np.zeros(6), self._model.opt.timestep
        for i, contact in enumerate(self._data.contact):
            one, two = sorted(int(self._owner[g]) for g in contact.geom)
            if two >= 0:
                self._mujoco.mj_contactForce(self._model, self._data, i, force)
                forces[one, two] = forces.get((one, two), 0.0) + force[0] * dt
        for pair, impulse in forces.items():
            if pair not in self._forces:
                begun.add(pair)
            if pair in begun:
                one, two = pair
                self._impulse[two, one] += impulse
                if one >= 0:
                    self._impulse[one, two] += impulse
            rise = impulse - self._forces.get(pair, 0.0)
            if rise > QUIET:
                self._strike(start, [body for body in pair if body >= 0], rise)
        self._forces = forces

    def _strike(self, start: int, bodies: list[int], rise: float) -> None:
        loud = min(1.0, rise / LOUD) ** 0.5 / len(bodies)
        for body in bodies:
            for ratio, share, decay in MODES["ball" if body < BALLS else "box"]:
                pitch = self._pitch[body] * ratio
                self._voices.strike(start, pitch, 0.35 * loud * share, decay * self._pitch[body] / 330)

    def _see(self, sound: np.ndarray) -> Step:
        n, d, m, free = self._bodies, self._data, self._model, BALLS + BOXES
        self._mujoco.mj_kinematics(m, d)  # a step leaves places as they were before it
        moves = d.qvel[: 6 * free].reshape(free, 6)
        pusher = np.array([*d.qvel[6 * free :], 0.0])
        velocity = np.vstack([moves[:, :3], pusher])
        spin = np.vstack([moves[:, 3:], np.zeros(3)])
        position, mass = d.xpos[1 : n + 1].copy(), m.body_mass[1 : n + 1].copy()
        kinetic = 0.5 * mass * (velocity**2).sum(1) + 0.5 * (m.body_inertia[1 : n + 1] * spin**2).sum(1)
        potential = -mass * m.opt.gravity[2] * position[:, 2]
        state = {
            "position": position,
            "velocity": velocity,
            "spin": spin,
            "orientation": d.xquat[1 : n + 1].copy(),
            "mass": mass,
            "kinetic": kinetic,
            "potential": potential,
            "energy": np.array(kinetic.sum() + potential.sum()),
            "impulse": self._impulse.copy(),
            "pitch": self._pitch.copy(),
        }
        return Step(self._draw(), sound, False, state)

    def _draw(self) -> np.ndarray:
        """The picture (SIZE, SIZE, 3) uint8: the room, and before it the bodies, cast by rays that can meet them."""
        m, colour = self._model, self._room_colour.copy()
        way = self._data.xpos[1 : self._bodies + 1] - EYE
        far = np.linalg.norm(way, axis=1)
        widest = 1 - np.minimum(1, m.geom_rbound[self._owner >= 0] / far) ** 2  # of its cone's cosine, squared
        cosines = self._directions @ (way / far[:, None]).T.astype(np.float32)
        near = (cosines > np.sqrt(widest) - 1e-3).any(axis=1)
        geoms, distance = self._cast(near, group=2)
        before = distance < self._room_far[near]
        colour[np.flatnonzero(near)[before]] = geoms[before]
        return (colour.reshape(SIZE, 2, SIZE, 2, 3).mean(axis=(1, 3)) + 0.5).astype(np.uint8)

    def _cast(self, which: np.ndarray, group: int) -> tuple[np.ndarray, np.ndarray]:
        """Of the rays `which` (R,): the colours (n, 3) of what they meet in a group of shapes, lit from one side, and
        how far it is (n,), infinitely where they meet nothing."""
        rays = self._rays[which]
        count, groups = len(rays), np.zeros(6, np.uint8)
        groups[group] = 1
        geom, far, normal = np.full(count, -1, np.int32), np.zeros(count), np.zeros(3 * count)
        out = groups, True, -1, geom, far, normal, count, 100.0
        if count:
            self._mujoco.mj_multiRay(self._model, self._data, np.array(EYE), rays.ravel(), *out)
        light = 0.55 + 0.45 * np.clip(normal.reshape(-1, 3) @ (LIGHT / np.linalg.norm(LIGHT)), 0, 1)
        met = geom >= 0
        lit = self._colours[geom] * np.where(met, light, 1.0)[:, None].astype(np.float32)
        return lit, np.where(met, far, np.inf)

    def close(self) -> None:
        """Nothing to give back."""


def in_picture(position: np.ndarray) -> np.ndarray:
    """Where points (..., 3) of the room are in the picture (..., 2): (0, 0) is its upper left corner, (1, 1) the lower
    right one."""
    forward, right, up = _camera()
    way = position - np.array(EYE)
    depth = np.maximum(way @ forward, 1e-3)  # nothing that is seen lies behind the eye
    return 0.5 + 0.5 * LENS * np.stack([way @ right, -(way @ up)], axis=-1) / depth[..., None]


def _camera() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors (3,) forward, right and up of who looks."""
    forward = np.subtract(AT, EYE) / np.linalg.norm(np.subtract(AT, EYE))
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    return forward, right, np.cross(right, forward)


def _rays() -> np.ndarray:
    """Directions (4 * SIZE * SIZE, 3) of unit length, four a pixel, rows from the top."""
    forward, right, up = _camera()
    across = (np.arange(2 * SIZE) + 0.5) / SIZE - 1
    rays = LENS * forward + across[None, :, None] * right - across[:, None, None] * up
    return (rays / np.linalg.norm(rays, axis=-1, keepdims=True)).reshape(-1, 3)


def _room(half: np.ndarray, places: np.ndarray, rng: np.random.Generator) -> str:
    """The model in MuJoCo's language. Contacts are springs of little loss: things bounce."""
    bodies = []
    for i, (h, (x, y)) in enumerate(zip(half, places, strict=True)):
        ball = i < BALLS
        size = f"{h}" if ball else f"{h} {h * rng.uniform(0.7, 1.3)} {h * rng.uniform(0.7, 1.3)}"
        bodies.append(
            f'<body pos="{x} {y} {rng.uniform(0.5, 1.0)}"><freejoint/>'
            f'<geom name="body{i}" type="{"sphere" if ball else "box"}" size="{size}" density="300" group="2"/></body>'
        )
    n, dt, wall = len(half), 1 / (MujocoRoom.fps * SUBSTEPS), REACH + 0.1
    walls = {"back": (0, wall, 0), "left": (-wall, 0, 0), "right": (wall, 0, 0), "front": (0, -wall, 0)}
    sizes = {name: "1 .1 2" if x == 0 else ".1 1 2" for name, (x, _, _) in walls.items()}
    group = {name: 'group="1"' if name == "front" else "" for name in walls}  # not seen
    fixed = [
        f'<geom name="{name}" type="box" size="{sizes[name]}" pos="{x} {y} {z}" {group[name]}/>'
        for name, (x, y, z) in walls.items()
    ]
    return f"""<mujoco><compiler autolimits="true"/><option timestep="{dt}" cone="elliptic"/>
    <default><geom solref="-20000 -12" friction=".4 .005 .0005" condim="4"/></default><worldbody>
    <geom name="floor" type="plane" size="3 3 .1"/>{"".join(fixed)}
    <geom name="ramp" type="box" size=".45 .5 .05" pos="-.55 .35 .12" euler="0 {rng.uniform(18, 30)} 0"/>
    {"".join(bodies)}
    <body pos="0 -.6 .12"><joint name="x" type="slide" axis="1 0 0" range="-.75 .75" damping="2"/>
    <joint name="y" type="slide" axis="0 1 0" range="-.2 1.3" damping="2"/>
    <geom name="body{n}" type="box" size=".12 .12 .1" density="300" group="2"/></body></worldbody>
    <actuator><velocity joint="x" kv="60"/><velocity joint="y" kv="60"/></actuator></mujoco>"""
