"""The latent dynamics by hand, in plain PyTorch: what one would write without the protocol, to know what that costs.

The mathematics and the names of weights are those of `LatentDynamics` (flow head, context pass
with the next frame's first pass); the rest is as PyTorch likes it: buffers that are written in place. Imports nothing
of the house.

B worlds, T frames of a pass, K tokens of a frame, D their width, C model width, H heads, E head width, N slots.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.qk_gain = nn.Parameter(torch.ones(2 * dim))
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(self, x, turn, mask, keys, values, slots):
        """x (B, T, K, C); keys, values (B, H, N, K, E) take the T frames in `slots` and are then seen under mask."""
        B, T, K, C = x.shape
        qk, v = self.qkv(x).view(B, T, K, 3 * self.heads, -1).split([2 * self.heads, self.heads], dim=3)
        qk = turn(F.rms_norm(qk, qk.shape[-1:], None, 1e-5) * self.qk_gain.view(2 * self.heads, -1))
        q, k = qk.movedim(3, 1).chunk(2, dim=1)
        keys.index_copy_(2, slots, k)
        values.index_copy_(2, slots, v.movedim(3, 1))
        q = q.flatten(2, 3)
        y = F.scaled_dot_product_attention(q, keys.flatten(2, 3), values.flatten(2, 3), attn_mask=mask)
        return self.out(y.transpose(1, 2).reshape(B, T, K, C))


class SwiGLU(nn.Module):
    def __init__(self, dim):
        super().__init__()
        hidden = 64 * math.ceil(dim * 8 / 3 / 64)
        self.up = nn.Linear(dim, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    def forward(self, x):
        gate, x = self.up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * x)


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1 = nn.RMSNorm(dim, eps=1e-5)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.RMSNorm(dim, eps=1e-5)
        self.mlp = SwiGLU(dim)

    def forward(self, x, *seen):
        x = x + self.attn(self.norm1(x), *seen)
        return x + self.mlp(self.norm2(x))


class PlainDynamics(nn.Module):
    cos: torch.Tensor
    sin: torch.Tensor
    time: torch.Tensor
    last_z: torch.Tensor
    last_action: torch.Tensor

    def __init__(self, cfg, tokens, latent, actions, batch=1, dtype=torch.float32):
        """cfg: any object with the fields of a DynamicsConfig; dtype: of weights, keys and values."""
        super().__init__()
        self.cfg, self.K = cfg, tokens
        self.embed = nn.Linear(latent, cfg.dim)
        self.tokens = nn.Parameter(torch.zeros(tokens, cfg.dim))
        self.embed_action = nn.Embedding(actions + 1, cfg.dim)
        self.embed_noise_level = nn.Embedding(cfg.noise_levels + 1, cfg.dim)
        self.embed_step_size = nn.Embedding(cfg.noise_levels + 1, cfg.dim)
        self.blocks = nn.ModuleList(Block(cfg.dim, cfg.heads) for _ in range(cfg.depth))
        self.norm = nn.RMSNorm(cfg.dim, eps=1e-5)
        self.head = nn.Linear(cfg.dim, latent)
        E = cfg.dim // cfg.heads
        for i in range(cfg.depth):
            slots = (cfg.global_window if self.wide(i) else cfg.local_window) + 1
            for name in ("keys", "values"):
                ring = torch.zeros(batch, cfg.heads, slots, tokens, E, dtype=dtype)
                self.register_buffer(f"{name}{i}", ring, persistent=False)
        turns = [round((cfg.period / math.tau) ** (1 - j / max(1, E // 2 - 1))) for j in range(E // 2)]
        angles = math.tau / cfg.period * (torch.arange(cfg.period)[:, None] * torch.tensor(turns) % cfg.period).double()
        self.register_buffer("cos", angles.cos().float().repeat(1, 2), persistent=False)
        self.register_buffer("sin", torch.cat([-angles.sin(), angles.sin()], dim=1).float(), persistent=False)
        self.register_buffer("time", torch.zeros(1, dtype=torch.long), persistent=False)  # frames so far
        self.register_buffer("last_z", torch.zeros(batch, 1, tokens, latent), persistent=False)
        self.register_buffer("last_action", torch.zeros(batch, 1, dtype=torch.int32), persistent=False)
        for weight in self.parameters():
            weight.data = weight.data.to(dtype)

    def wide(self, layer):
        return (layer + 1) % self.cfg.global_every == 0

    def places(self):
        """Of the last and the present frame: rotary angles (2, 1, 1, E), and for both kinds of layer mask and slots."""
        frames = self.time + torch.arange(-1, 1, device=self.time.device)  # (T,)
        row, found = frames % self.cfg.period, []
        for window in (self.cfg.local_window, self.cfg.global_window):
            slot = torch.arange(window + 1, device=self.time.device)
            held = self.time - (self.time - slot) % (window + 1)  # (N,), the frame that each slot holds
            age = frames[:, None] - held
            seen = ((age >= 0) & (age < window) & (held >= 0)) | (age == 0)
            mask = torch.where(seen, 0.0, -3e4).to(self.tokens.dtype)[:, None, :, None]
            mask = mask.expand(-1, self.K, -1, self.K).reshape(2 * self.K, -1)
            found.append((mask, frames % (window + 1)))
        dtype = self.tokens.dtype
        return self.cos[row][:, None, None].to(dtype), self.sin[row][:, None, None].to(dtype), found

    def predict(self, z, action, level, stride, places, frames):
        """The clean z of the last `frames` (2 or 1) frames: z (B, T, K, D); action, level, stride (B, T)."""
        cos, sin, kinds = places
        cos, sin = cos[-frames:], sin[-frames:]

        def turn(x):
            a, b = x.chunk(2, dim=-1)
            return x * cos + torch.cat([b, a], dim=-1) * sin

        frame = self.embed_action(action) + self.embed_noise_level(level) + self.embed_step_size(stride)
        x = self.embed(z.to(self.tokens.dtype)) + self.tokens + frame[:, :, None]
        for i, block in enumerate(self.blocks):
            mask, slots = kinds[self.wide(i)]
            seen = mask[-frames * self.K :], getattr(self, f"keys{i}"), getattr(self, f"values{i}"), slots[-frames:]
            x = block(x, turn, *seen)
        return self.head(self.norm(x)).float()

    def step(self, noise, action):
        """noise (B, 1, K, D), action (B, 1) int32 -> the next latent (B, 1, K, D). The state goes on in place."""
        c, places, none = self.cfg, self.places(), torch.zeros_like(action)
        stride, z = c.noise_levels // c.steps, noise
        for i in range(c.steps):
            level = none + i * stride
            if i == 0:
                both, actions = torch.cat([self.last_z, z], 1), torch.cat([self.last_action, action], 1)
                levels, strides = torch.cat([none + c.noise_levels, level], 1), torch.cat([none, none + stride], 1)
                clean = self.predict(both, actions, levels, strides, places, 2)[:, 1:]
            else:
                clean = self.predict(z, action, level, none + stride, places, 1)
            z = z + (clean - z) / (c.steps - i)
        z = F.rms_norm(z, z.shape[-1:], None, 1e-6)
        self.last_z.copy_((1 - c.context_noise) * z + c.context_noise * noise)
        self.last_action.copy_(action)
        self.time.add_(1)
        return z


def recorded(step, noise, action):
    """`step` as a CUDA graph: a function like it, whose result the next call overwrites."""
    noise, action, stream = noise.clone(), action.clone(), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(noise, action)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        z = step(noise, action)

    def run(new_noise, new_action):
        noise.copy_(new_noise)
        action.copy_(new_action)
        graph.replay()
        return z

    run.keeps = step  # whose weights and state the graph reads
    return run
