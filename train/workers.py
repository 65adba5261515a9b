"""Data parallelism inside one process, for a CPU that is shared with others.

Each worker is a Python thread whose tensor operators use one core, and takes the next slice of the batch
when it has finished its last one: a core that somebody else keeps busy just takes fewer slices. (Operators
spread over all cores wait for the slowest core at every operator; on a loaded machine that was up to five
times slower.) On a GPU, or with one worker, the slices run one after the other in the calling thread.
"""
import queue
import threading

import torch


class Pool:
    def __init__(self, n):
        self.n = n
        self.jobs, self.done = queue.Queue(), queue.Queue()
        for _ in range(n if n > 1 else 0):
            threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        torch.set_num_threads(1)
        while True:
            k, f, args = self.jobs.get()
            try:
                self.done.put((k, f(*args), None))
            except BaseException as e:  # handed to the caller, who raises it
                self.done.put((k, None, e))

    def map(self, f, arglists):
        if self.n <= 1:
            return [f(*args) for args in arglists]
        for k, args in enumerate(arglists):
            self.jobs.put((k, f, args))
        out = [None] * len(arglists)
        for _ in arglists:
            k, value, error = self.done.get()
            if error:
                raise error
            out[k] = value
        return out

    def gradients(self, loss_fn, parameters, slices):
        """Mean over slices of the gradients of loss_fn(*slice)[0]; they are left in p.grad. Returns the outputs."""
        def one(*s):
            out = loss_fn(*s)
            g = torch.autograd.grad(out[0], parameters, allow_unused=True)
            return [float(o.detach()) for o in out], g
        results = self.map(one, slices)
        for i, p in enumerate(parameters):
            gs = [r[1][i] for r in results if r[1][i] is not None]
            p.grad = sum(gs[1:], gs[0]).div_(len(results)) if gs else torch.zeros_like(p)
        return [r[0] for r in results]
