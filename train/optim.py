"""Optimiser: Muon for the matrices (and convolution kernels seen as matrices), AdamW for the rest."""
import torch


def _gram(g, steps):
    """The product of the iteration's polynomials, from x x^T alone. They commute, and for wide matrices (convolutions)
    this is a third of the work."""
    q = None
    for k in range(steps):
        y = torch.baddbmm(g, g, g, beta=-4.7750, alpha=2.0315)
        y.diagonal(dim1=1, dim2=2).add_(3.4445)
        q = y if q is None else y @ q
        if k + 1 < steps:
            g = y @ g @ y
    return q


def orthogonalize(g, steps=5):
    """Newton-Schulz iteration (Keller Jordan's quintic): a batch [B, r, c] to nearly orthogonal matrices."""
    x = g / (g.norm(dim=(1, 2), keepdim=True) + 1e-7)
    flip = x.shape[1] > x.shape[2]
    if flip:
        x = x.transpose(1, 2)
    if x.shape[2] >= 2 * x.shape[1]:
        x = _gram(x @ x.transpose(1, 2), steps) @ x
    else:
        for _ in range(steps):
            a = x @ x.transpose(1, 2)
            b = torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315)
            x = torch.baddbmm(x, b, x, beta=3.4445)
    return x.transpose(1, 2) if flip else x


class MuonAdamW:
    """muon: matrices, update RMS 0.2 lr (comparable with Adam's). adam: everything else, parameters or
    groups of them, where "scale" multiplies the learning rate."""

    def __init__(self, muon, adam, betas=(0.9, 0.99), momentum=0.95, weight_decay=0.0):
        self.groups = {}
        for p in muon:
            shape = (p.shape[0], p.numel() // p.shape[0])
            self.groups.setdefault(shape, []).append(p)
        self.momentum, self.weight_decay = momentum, weight_decay
        self.buffers = {s: torch.zeros(len(ps), *s, device=ps[0].device) for s, ps in self.groups.items()}
        self.adam = torch.optim.AdamW(adam, lr=1e-3, betas=betas, weight_decay=0.0) if adam else None
        self.jobs = [(s, k, min(k + 4, len(ps))) for s, ps in self.groups.items() for k in range(0, len(ps), 4)]
        self.jobs.sort(key=lambda j: -j[0][0] * j[0][1] * min(j[0]) * (j[2] - j[1]))

    @torch.no_grad()
    def _muon(self, shape, first, end, lr):
        ps, m = self.groups[shape][first:end], self.buffers[shape][first:end]
        g = torch.stack([p.grad.reshape(shape) for p in ps])
        m.lerp_(g, 1 - self.momentum)
        u = orthogonalize(torch.lerp(g, m, self.momentum))
        u *= 0.2 * max(shape) ** 0.5 * lr
        for p, d in zip(ps, u):
            if self.weight_decay:
                p.mul_(1 - lr * self.weight_decay)
            p.sub_(d.reshape(p.shape))

    @torch.no_grad()
    def step(self, lr, adam_lr=None, pool=None):
        jobs = [(*j, lr) for j in self.jobs]
        if pool:
            pool.map(self._muon, jobs)
        else:
            for j in jobs:
                self._muon(*j)
        if self.adam:
            for i, group in enumerate(self.adam.param_groups):
                group["lr"] = (adam_lr or lr) * group.get("scale", 1.0)
            self.adam.step()

    def zero_grad(self):
        for ps in self.groups.values():
            for p in ps:
                p.grad = None
        if self.adam:
            self.adam.zero_grad()

    def state_dict(self):
        return {"buffers": self.buffers, "adam": self.adam.state_dict() if self.adam else None}

    def load_state_dict(self, state):
        for s, b in state["buffers"].items():
            self.buffers[s].copy_(b)
        if self.adam:
            self.adam.load_state_dict(state["adam"])


def split(parameters, skip=()):
    """(matrices, rest): what Muon takes, and what AdamW takes (vectors, and whatever is in skip)."""
    skip = {id(p) for p in skip}
    parameters = [p for p in parameters if p.requires_grad]
    muon = [p for p in parameters if p.ndim >= 2 and id(p) not in skip]
    ids = {id(p) for p in muon}
    return muon, [p for p in parameters if id(p) not in ids]
