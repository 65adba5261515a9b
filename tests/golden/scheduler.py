#!/usr/bin/env python3
"""Writes scheduler.txt: every U-Net call (time, input) and the final x of a toy model under
diffusers' schedulers and k-diffusion's samplers, all in float64.

Needs torch, diffusers, scipy, and the unpacked k-diffusion wheel (pip download --no-deps
k-diffusion; unzip) in $KDIFFUSION; what else k-diffusion imports is replaced by empty modules.

A case is one line `case key=value ...` (see tests/scheduler/golden.c), one line `t in0 in1` for
every call, and a line `x x0 x1`. The inputs are what a network would see, sqrt(alpha_bar)-scaled,
so they do not depend on how a sampler scales its x. Lines `sigmas` hold whole schedules.
"""
import math
import os
import sys
import types

import numpy as np
import torch
import diffusers as d
from scipy import stats

torch.set_default_dtype(torch.float64)
for name in ("torchdiffeq", "torchsde", "k_diffusion"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["torchdiffeq"].odeint = None
sys.modules["k_diffusion"].__path__ = [os.path.join(os.environ["KDIFFUSION"], "k_diffusion")]
sys.modules["k_diffusion.utils"] = types.ModuleType("k_diffusion.utils")
sys.modules["k_diffusion.utils"].append_dims = lambda x, n: x
sys.modules["k_diffusion"].utils = sys.modules["k_diffusion.utils"]
from k_diffusion import sampling as k  # noqa: E402

# diffusers asks for float32 by name; these tests are about its formulas, not its rounding.
torch.float32 = torch.float64
np.float32 = np.float64

out = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "scheduler.txt"), "w")
SEED = 11


class Draws:
    def __init__(self):
        self.generator = torch.Generator().manual_seed(SEED)

    def __call__(self, *_args, **_kwargs):
        # torch.float32 means float64 by now; the C test draws floats.
        return torch.randn(2, generator=self.generator, dtype=torch.float).double().reshape(1, 2)


def toy(x, t):
    i = torch.arange(2)
    return 0.6 * x + 0.4 * torch.sin(2 * x + float(t) / 200 + i)


class Log:
    def __init__(self, **keys):
        self.head = " ".join(f"{a}={b}" for a, b in keys.items())
        self.rows = []

    def call(self, x, t):
        self.rows.append((float(t), *x.flatten().tolist()))
        return toy(x, t)

    def end(self, x):
        print("case", self.head, file=out)
        for row in self.rows:
            print(*(f"{v:.12g}" for v in row), file=out)
        print("x", *(f"{v:.12g}" for v in x.flatten().tolist()), file=out)


PREDICTIONS = {"eps": "epsilon", "v": "v_prediction", "sample": "sample"}


def diffusers_case(cls, sampler, steps, pred="eps", spacing="leading", zsnr=0, offset=1,
                   betas="scaled_linear", one=0, sigmas="", eta=None, **more):
    import inspect
    config = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule=betas,
                  prediction_type=PREDICTIONS[pred], timestep_spacing=spacing, steps_offset=offset,
                  set_alpha_to_one=bool(one), rescale_betas_zero_snr=bool(zsnr), clip_sample=False,
                  skip_prk_steps=True, **more)
    if sigmas:
        config[f"use_{sigmas}_sigmas"] = True
    known = inspect.signature(cls.__init__).parameters
    s = cls(**{a: b for a, b in config.items() if a in known})
    assert not zsnr or "rescale_betas_zero_snr" in known
    s.set_timesteps(steps)
    log = Log(sampler=sampler.replace(" ", "_"), schedule="Model", steps=steps, pred=pred,
              spacing=spacing, zsnr=zsnr, offset=offset, betas=betas, one=one,
              sigmas=sigmas or "Model", eta="nan" if eta is None else eta)
    draw = Draws()
    module = sys.modules[cls.__module__]
    if hasattr(module, "randn_tensor"):
        module.randn_tensor = draw
    step_args = {}
    if eta is not None:
        step_args["eta"] = eta
    x = draw() * float(s.init_noise_sigma)
    for t in s.timesteps:
        scaled = s.scale_model_input(x, t) if hasattr(s, "scale_model_input") else x
        x = s.step(log.call(scaled, t), t, x, **step_args).prev_sample
    log.end(x)


# --- k-diffusion with A1111's schedules ---

def training_abar(zsnr):
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    if zsnr:
        betas = d.schedulers.scheduling_ddim.rescale_zero_terminal_snr(betas)
    abar = torch.cumprod(1 - betas, 0)
    if zsnr:
        abar[-1] = 2**-24
    return abar


class Levels:
    def __init__(self, zsnr):
        abar = training_abar(zsnr)
        self.sigmas = ((1 - abar) / abar) ** 0.5
        self.log_sigmas = self.sigmas.log()

    def t(self, sigma):
        return float(np.interp(math.log(sigma), self.log_sigmas.numpy(), np.arange(1000)))

    def sigma(self, t):
        return math.exp(np.interp(t, np.arange(1000), self.log_sigmas.numpy()))


AYS = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, .963, .652, .399, .152, .029]
AYS_XL = [14.615, 6.315, 3.771, 2.181, 1.342, .862, .555, .380, .234, .113, .029]


def a1111_sigmas(name, n, levels):
    lo, hi = float(levels.sigmas[0]), float(levels.sigmas[-1])
    if name == "Karras":
        return k.get_sigmas_karras(n, lo, hi)
    if name == "Exponential":
        return k.get_sigmas_exponential(n, lo, hi)
    if name == "Polyexponential":
        return k.get_sigmas_polyexponential(n, lo, hi)
    if name in ("Uniform", "Normal"):
        s = [levels.sigma(t) for t in np.linspace(999, 0, n)]
    elif name == "SGM Uniform":
        s = [levels.sigma(t) for t in np.linspace(999, 0, n + 1)[:-1]]
    elif name == "KL Optimal":
        u = np.arange(n) / (n - 1)
        s = np.tan(u * math.atan(lo) + (1 - u) * math.atan(hi))
    elif name.startswith("Align Your Steps"):
        points = AYS_XL if name.endswith("XL") else AYS
        ys = np.interp(np.linspace(0, 1, n), np.linspace(0, 1, 11), np.log(points[::-1]))
        s = np.exp(ys)[::-1]
    elif name == "Simple":
        s = [float(levels.sigmas[-(1 + int(x * (1000 / n)))]) for x in range(n)]
    elif name == "DDIM":
        s = [float(levels.sigmas[1 + x * (1000 // n)]) for x in range(n)][::-1]
    elif name == "Beta":
        s = [lo + stats.beta.ppf(x, 0.6, 0.6) * (hi - lo) for x in 1 - np.linspace(0, 1, n)]
    elif name == "Turbo":
        ts = np.flip(np.arange(1, n + 1) * (1000.0 / n) - 1).round().clip(0, 999)
        s = [float(levels.sigmas[int(t)]) for t in ts]
    return torch.tensor([*s, 0.0])


class Brownian:
    """Increments over nested intervals from one start, each normalised, from sequential draws."""

    def __init__(self, draw):
        self.draw, self.start = draw, None

    def __call__(self, sigma, sigma_next):
        a, b = float(sigma), float(sigma_next)
        if self.start != a:
            self.start, self.reached, self.path = a, b, self.draw() * math.sqrt(a - b)
        else:
            self.path = self.path + self.draw() * math.sqrt(self.reached - b)
            self.reached = b
        return self.path / math.sqrt(a - b)


DISCARD = ("DPM2", "DPM2 a", "DPM++ 3M SDE")


def ipndm(model, x, sigmas):
    """ComfyUI's sample_ipndm, written again from its published source."""
    weights = [[1], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12],
               [55 / 24, -59 / 24, 37 / 24, -9 / 24]]
    past = []
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i])
        past = [(x - denoised) / sigmas[i], *past[:3]]
        if sigmas[i + 1] == 0:
            return denoised
        x = x + (sigmas[i + 1] - sigmas[i]) * sum(w * p for w, p in zip(weights[len(past) - 1], past))


def restart(model, x, sigmas):
    """A1111's restart_sampler, written again from its published source."""
    n = len(sigmas) - 1
    again, times = (9, 1) if n < 36 else (n // 4, 2)
    if n < 20:
        return k.sample_heun(model, x, sigmas, disable=True)
    sigmas = k.get_sigmas_karras(n - again * times, float(sigmas[-2]), float(sigmas[0]))
    low, high = (int((sigmas - v).abs().argmin()) for v in (0.1, 2))
    loop = k.get_sigmas_karras(again + 1, float(sigmas[low]), float(sigmas[high]))[:-1]
    steps = list(zip(sigmas[:-1], sigmas[1:]))
    steps[low:low] = list(zip(loop[:-1], loop[1:])) * times
    last = sigmas[0]
    for a, b in steps:
        if last < a:
            x = x + k.torch.randn_like(x) * (a**2 - last**2) ** 0.5
        d1 = (x - model(x, a)) / a
        x2 = x + d1 * (b - a)
        if b > 0:
            x2 = x + (d1 + (x2 - model(x2, b)) / b) / 2 * (b - a)
        x, last = x2, b
    return x


def k_case(sampler, function, schedule, steps, pred="eps", zsnr=0, eta=None, noise=None, **more):
    levels = Levels(zsnr)
    if sampler in DISCARD:
        s = a1111_sigmas(schedule, steps + 1, levels)
        s = torch.cat([s[:-2], s[-1:]])
    else:
        s = a1111_sigmas(schedule, steps, levels)
    log = Log(sampler=sampler.replace(" ", "_"), schedule=schedule.replace(" ", "_"), steps=steps,
              pred=pred, spacing="leading", zsnr=zsnr, offset=1, betas="scaled_linear", one=0,
              sigmas="Model", eta="nan" if eta is None else eta,
              **{a: b for a, b in more.items() if a != "solver_type"})

    def model(x, sigma, **_):
        sigma = float(sigma if torch.as_tensor(sigma).ndim == 0 else sigma[0])
        o = log.call(x / math.sqrt(1 + sigma**2), levels.t(sigma))
        if pred == "eps":
            return x - sigma * o
        if pred == "v":
            return x / (1 + sigma**2) - o * sigma / math.sqrt(1 + sigma**2)
        return o

    draw = Draws()
    x = draw() * s[0]
    if noise == "brownian":
        more["noise_sampler"] = Brownian(draw)
    elif noise:
        more["noise_sampler"] = draw
    if eta is not None:
        more["eta"] = eta
    k.torch = types.SimpleNamespace(**{**vars(torch), "randn_like": draw})
    x = function(model, x, s, **({"disable": True} if function not in (ipndm, restart) else {}), **more)
    k.torch = torch
    log.end(x)


# Whole schedules, for 1000 scaled_linear steps.
levels = Levels(0)
for name in ("Uniform", "Karras", "Exponential", "Polyexponential", "SGM Uniform", "KL Optimal",
             "Align Your Steps", "Align Your Steps XL", "Simple", "Normal", "DDIM", "Beta", "Turbo"):
    for n in (5, 11, 20):
        print("sigmas", name.replace(" ", "_"), n,
              *(f"{v:.14g}" for v in a1111_sigmas(name, n, levels).tolist()), file=out)
for a, b in ((0.6, 0.6), (0.5, 2.0), (3.0, 0.4)):
    for p in (1e-6, 0.01, 0.3, 0.5, 0.77, 0.99, 1 - 1e-6):
        print("ppf", a, b, repr(p), f"{stats.beta.ppf(p, a, b):.16g}", file=out)

D = diffusers_case
ZSNR = dict(pred="v", spacing="trailing", zsnr=1)
D(d.DDIMScheduler, "DDIM", 20)
D(d.DDIMScheduler, "DDIM", 5, one=1, offset=0)
D(d.DDIMScheduler, "DDIM", 20, eta=0.5, pred="v")
D(d.DDIMScheduler, "DDIM", 50, eta=1.0, betas="linear")
D(d.DDIMScheduler, "DDIM", 20, pred="sample", spacing="linspace", betas="squaredcos_cap_v2")
D(d.DDIMScheduler, "DDIM", 5, **ZSNR)
D(d.DDIMScheduler, "DDIM", 20, **ZSNR)
D(d.DDPMScheduler, "DDPM", 20)
D(d.DDPMScheduler, "DDPM", 50, pred="sample", spacing="linspace")
D(d.DDPMScheduler, "DDPM", 5, **ZSNR)
D(d.DDPMScheduler, "DDPM", 20, **ZSNR)
D(d.PNDMScheduler, "PLMS", 5)
D(d.PNDMScheduler, "PLMS", 50)
D(d.PNDMScheduler, "PLMS", 20, pred="v")
D(d.PNDMScheduler, "PLMS", 7, spacing="trailing", one=1)
for cls, name in ((d.EulerDiscreteScheduler, "Euler"), (d.EulerAncestralDiscreteScheduler, "Euler a")):
    D(cls, name, 20)
    D(cls, name, 50, pred="v", spacing="linspace")
    D(cls, name, 5, **ZSNR)
    D(cls, name, 20, **ZSNR)
for sigmas in ("karras", "exponential", "beta"):
    D(d.EulerDiscreteScheduler, "Euler", 20, sigmas=sigmas)
for cls, name in ((d.HeunDiscreteScheduler, "Heun"), (d.KDPM2DiscreteScheduler, "DPM2"),
                  (d.KDPM2AncestralDiscreteScheduler, "DPM2 a"), (d.LMSDiscreteScheduler, "LMS")):
    D(cls, name, 5)
    D(cls, name, 20, pred="v", spacing="trailing")
    D(cls, name, 20, spacing="linspace")
for cls, name, more in ((d.DPMSolverMultistepScheduler, "DPM++ 2M", {}),
                        (d.DPMSolverMultistepScheduler, "DPM++ 2M SDE",
                         dict(algorithm_type="sde-dpmsolver++")),
                        (d.UniPCMultistepScheduler, "UniPC", {})):
    D(cls, name, 5, **more)
    D(cls, name, 20, **more)
    D(cls, name, 50, spacing="linspace", pred="sample", **more)
    D(cls, name, 5, **ZSNR, **more)
    D(cls, name, 20, **ZSNR, **more)
    D(cls, name, 20, sigmas="karras", **more)
    D(cls, name, 20, sigmas="exponential", pred="v", **more)
D(d.LCMScheduler, "LCM", 4)
D(d.LCMScheduler, "LCM", 8, pred="v", zsnr=1)
D(d.LCMScheduler, "LCM", 20, pred="sample")
D(d.TCDScheduler, "TCD", 4, eta=0.3)
D(d.TCDScheduler, "TCD", 8, eta=0.0, pred="v", zsnr=1)
D(d.TCDScheduler, "TCD", 20, eta=0.7, pred="sample")

K = k_case
ALL = (("Euler", k.sample_euler, None), ("Euler a", k.sample_euler_ancestral, 1),
       ("Heun", k.sample_heun, None), ("DPM2", k.sample_dpm_2, None),
       ("DPM2 a", k.sample_dpm_2_ancestral, 1), ("LMS", k.sample_lms, None),
       ("DPM++ 2S a", k.sample_dpmpp_2s_ancestral, 1), ("DPM++ SDE", k.sample_dpmpp_sde, "brownian"),
       ("DPM++ 2M", k.sample_dpmpp_2m, None), ("DPM++ 2M SDE", k.sample_dpmpp_2m_sde, 1),
       ("DPM++ 3M SDE", k.sample_dpmpp_3m_sde, 1), ("iPNDM", ipndm, None))
for name, function, noise in ALL:
    K(name, function, "Karras", 5, noise=noise)
    K(name, function, "Karras", 20, noise=noise, pred="v")
    K(name, function, "Uniform", 20, noise=noise)
    K(name, function, "SGM Uniform", 20, noise=noise, pred="v", zsnr=1)
    if noise:
        K(name, function, "Exponential", 20, noise=noise, eta=0.4, s_noise=1.1)
for name, function, noise in ALL[2::3]:
    K(name, function, "Exponential", 50, noise=noise, pred="sample")
K("DPM++ 2M SDE Heun", k.sample_dpmpp_2m_sde, "Karras", 20, noise=1, solver_type="heun")
K("DPM++ 2M SDE Heun", k.sample_dpmpp_2m_sde, "Exponential", 5, noise=1, solver_type="heun",
  pred="v", eta=0.6)
for name, function, _ in (ALL[0], ALL[2], ALL[3]):
    K(name, function, "Karras", 20, s_churn=5.0, s_noise=1.05)
for steps, pred in ((7, "eps"), (20, "v"), (40, "eps")):
    K("Restart", restart, "Karras", steps, pred=pred)
out.close()
