"""The steps of `mgn bench` on rows of 784 values in JAX: forward, backward and Adam of C-MGN with 512 hidden units and 32
layers, which share their weights, for MSE and for the debiased Sinkhorn divergence (blur .05, scaling .9), written as
GeomLoss's loop: costs once, potentials held in the last half-step, through which alone the gradient flows."""
import math
import os
import sys

sys.dont_write_bytecode = True
os.environ.setdefault("JAX_PLATFORMS", "cpu")
from peer import need, serve

jax, np = need("jax", "numpy")
import jax.numpy as jnp
from functools import partial

D, H, LAYERS, BATCH, BLUR, SCALING = 784, 512, 32, 256, .05, .9
hold = jax.lax.stop_gradient


def cmgn(p, x):
    u = x @ p["W"]
    z = u + p["b"][0]
    for l in range(1, LAYERS):
        z = u + jax.nn.sigmoid(z) + p["b"][l]
    return jax.nn.sigmoid(z) @ p["W"].T + (x @ p["V"]) @ p["V"].T + p["bL"]


def mse(x, y):
    return jnp.square(x - y).mean()


def costs(a, b):
    return jnp.maximum((a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T, 0) / 2


def softmin(e, c, h):
    return -e * jax.nn.logsumexp(h - c / e, axis=1)


def sinkhorn(a, b):
    w = -math.log(a.shape[0])
    both = hold(jnp.concatenate([a, b]))
    ab, aa, bb = hold(costs(a, b)), hold(costs(a, a)), hold(costs(b, b))
    start = jnp.square(both.max(0) - both.min(0)).sum()

    def once(e, F):
        f, g, p, q = F
        return (softmin(e, ab, w + g / e), softmin(e, ab.T, w + f / e), softmin(e, aa, w + p / e),
                softmin(e, bb, w + q / e))

    def half(e, F):
        return jax.tree.map(lambda u, v: (u + v) / 2, F, once(e, F))

    def body(c):
        return c[0] * SCALING**2, half(*c)

    zero = jnp.zeros(a.shape[0])
    _, F = jax.lax.while_loop(lambda c: c[0] > BLUR**2, body, (start, half(start, once(start, (zero,) * 4))))
    e = BLUR**2
    f, g, p, q = hold(half(e, F))
    x_from_y, y_from_x = softmin(e, costs(a, hold(b)), w + g / e), softmin(e, costs(b, hold(a)), w + f / e)
    return (x_from_y - softmin(e, costs(a, hold(a)), w + p / e)).mean() + (
        y_from_x - softmin(e, costs(b, hold(b)), w + q / e)).mean()


def adam(p, g, m, v, t):
    m = jax.tree.map(lambda m, g: .9 * m + .1 * g, m, g)
    v = jax.tree.map(lambda v, g: .999 * v + .001 * g * g, v, g)
    c, d = 1 / (1 - .9**t), 1 / (1 - .999**t)
    return jax.tree.map(lambda p, m, v: p - 1e-3 * m * c / (jnp.sqrt(v * d) + 1e-8), p, m, v), m, v


def steps(loss):
    r = np.random.default_rng(1)
    normal = lambda *s: jnp.asarray(r.standard_normal(s), jnp.float32)
    p = {"W": normal(D, H) / math.sqrt(D), "b": normal(LAYERS, H), "bL": .1 * normal(D),
         "V": jnp.asarray(np.linalg.qr(r.standard_normal((D, D)))[0], jnp.float32)}
    x, y = normal(BATCH, D), jnp.asarray(np.where(r.random((BATCH, D)) < .19, r.random((BATCH, D)) * 2 - 1, -1), jnp.float32)
    value = jax.value_and_grad(lambda p, x, y: loss(cmgn(p, x), y))

    @partial(jax.jit, donate_argnums=0)
    def step(state, x, y):
        p, m, v, t = state
        l, g = value(p, x, y)
        return adam(p, g, m, v, t + 1) + (t + 1,), l

    state = [(p, jax.tree.map(jnp.zeros_like, p), jax.tree.map(jnp.zeros_like, p), jnp.float32(0))]

    def run():
        state[0], l = step(state[0], x, y)
        if not np.isfinite(l):
            raise ArithmeticError("the loss is not finite")
    return run, 1


serve(f"JAX {jax.__version__}", {f"step cmgn d={D} h={H} {loss.__name__} batch {BATCH}": [partial(steps, loss)]
                                 for loss in (mse, sinkhorn)})
