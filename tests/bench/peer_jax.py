"""The training steps of `mgn bench` in JAX: an epoch is one jitted scan over its batches.

Every coordinate is an array of its own, which leaves XLA nothing but elementwise work and sums to fuse: its fastest
form for networks this small. In the plane the rows are permuted anew every epoch; colours are permuted once for all,
because a permutation of two million rows would cost JAX more than the steps. Where several ways of writing a step are
known, the fastest one counts."""
import os
import sys

sys.dont_write_bytecode = True
os.environ.setdefault("JAX_PLATFORMS", "cpu")
from peer import need, serve

jax, np = need("jax", "numpy")
import jax.numpy as jnp
from functools import partial

PLANE, COLOUR = 10000, 2073600
rng = np.random.default_rng(1)


def take(p, *shapes):
    """Parameters of these shapes, one after the other in the vector p."""
    out, at = [], 0
    for s in shapes:
        size = int(np.prod(s))
        out.append(p[at:at + size].reshape(s))
        at += size
    return out


def dot(rows, x):
    """One sum of products a row, x being a list of arrays."""
    return [sum(w * v for w, v in zip(row, x)) for row in rows]


def cmgn(p, x, h):
    d = len(x)
    W, b0, b1, V, bL = take(p, (h, d), (h,), (h,), (d, d), (d,))
    s = [jax.nn.sigmoid(u + jax.nn.sigmoid(u + b0[j]) + b1[j]) for j, u in enumerate(dot(W, x))]
    return [a + q + c for a, q, c in zip(dot(W.T, s), dot(V.T, dot(V, x)), bL)]


def mmgn(p, x, h):
    d = len(x)
    a, V, *modules = take(p, (d,), (d, d), (h, d), (h,), (h, d), (h,))
    y = [q + c for q, c in zip(dot(V.T, dot(V, x)), a)]
    for W, b in zip(modules[::2], modules[1::2]):
        z = [u + b[j] for j, u in enumerate(dot(W, x))]
        logcosh = sum(abs(u) + jnp.log1p(jnp.exp(-2 * abs(u))) - np.float32(np.log(2)) for u in z)
        y = [v + logcosh * t for v, t in zip(y, dot(W.T, [jnp.tanh(u) for u in z]))]
    return y


def mmgn_together(p, x, h):
    """The same with all hidden units of both modules in one array, (2, h, rows)."""
    d = len(x)
    a, V, W0, c0, W1, c1 = take(p, (d,), (d, d), (h, d), (h,), (h, d), (h,))
    W, b = jnp.stack([W0, W1])[..., None], jnp.stack([c0, c1])[..., None]
    z = sum(W[:, :, i] * x[i] for i in range(d)) + b
    s, t = (abs(z) + jnp.log1p(jnp.exp(-2 * abs(z))) - np.float32(np.log(2))).sum(1), jnp.tanh(z)
    return [q + c + (s * (W[:, :, i] * t).sum(1)).sum(0) for i, (q, c) in enumerate(zip(dot(V.T, dot(V, x)), a))]


def l1(g, x, y):
    return sum(jnp.abs(a - b).mean() for a, b in zip(g(x), y)) / len(x)


def nll(g, x, _):
    one, zero = jnp.ones_like(x[0]), jnp.zeros_like(x[0])
    (u, v), (ux, vx) = jax.jvp(g, (x,), ([one, zero],))
    _, (uy, vy) = jax.jvp(g, (x,), ([zero, one],))
    return (0.5 * (u * u + v * v) - jnp.log(ux * vy - uy * vx)).mean() + float(np.log(2 * np.pi))


TARGET = np.float32([.45, .35, .3]), np.float32([[.06, .04, .03], [.04, .04, .03], [.03, .03, .035]])


def kl(g, x, _):
    y, (mean, cov) = g(x), TARGET
    inverse, n = np.linalg.inv(cov), y[0].size
    m = jnp.stack([v.mean() for v in y])
    c = [v - a for v, a in zip(y, m)]
    S = jnp.stack([jnp.stack([(a * b).sum() for b in c]) for a in c]) / (n - 1) + 1e-6 * jnp.eye(3)
    return .5 * ((inverse * S).sum() + (m - mean) @ inverse @ (m - mean) - 3 - jnp.linalg.slogdet(S)[1]
                 + np.linalg.slogdet(cov)[1])


def adam(p, g, s, lr, decay, clip):
    m, v, t = s
    if clip:
        g = g * jnp.minimum(1, clip / (jnp.sqrt((g * g).sum()) + 1e-6))
    g, t = g + decay * p, t + 1
    m, v = .9 * m + .1 * g, .999 * v + .001 * g * g
    return p - lr * (m / (1 - .9 ** t)) / (jnp.sqrt(v / (1 - .999 ** t)) + 1e-8), (m, v, t)


def start(net, d, h):
    V = np.linalg.qr(rng.standard_normal((d, d)))[0].ravel()
    r = lambda n: rng.standard_normal(n)
    parts = [r(h * d + 2 * h), V, r(d)] if net is cmgn else [r(d), V, r(2 * (h * d + h))]
    p = jnp.asarray(np.concatenate(parts), jnp.float32)
    return p, (jnp.zeros_like(p), jnp.zeros_like(p), jnp.float32(0))


def rows(loss, n):
    if loss is kl:
        return (rng.uniform(.1, .9, (n, 1)) + rng.uniform(-.1, .1, (n, 3))).astype(np.float32).T, None
    if loss is nll:
        a, b = rng.standard_normal((2, n))
        return np.float32([2 + a, 1 - .8 * a + .6 * b]), None
    a, b = rng.random((2, n))
    return np.float32([a, b]), np.float32([4 * a**3 + .5 * b, .5 + .5 * a + 3 * b - b * b])


def epochs(net, loss, h, batch, n, unroll=1, lr=1e-3, decay=0., clip=0.):
    """run() trains one epoch; the units are its steps."""
    x, y = rows(loss, n)
    d, steps = len(x), n // batch
    value = jax.value_and_grad(lambda p, x, y: loss(lambda x: net(p, x, h), x, y))

    def batches(v, order):
        v = v if order is None else v[:, order]
        return v[:, :steps * batch].reshape(d, steps, batch).transpose(1, 0, 2)

    @partial(jax.jit, donate_argnums=0)
    def epoch(c, x, y, order):
        def step(c, b):
            l, g = value(c[0], list(b[0]), list(b[1]))
            return adam(c[0], g, c[1], lr, decay, clip), l
        return jax.lax.scan(step, c, (batches(x, order), batches(y, order)), unroll=min(unroll, steps))

    if y is None:  # losses without targets do not read them
        x = y = x[:, rng.permutation(n)]
    x, y = jnp.asarray(x), jnp.asarray(y)
    state = [start(net, d, h), None]

    def run():
        state[0], losses = epoch(state[0], x, y, rng.permutation(n) if steps > 1 and n == PLANE else None)
        state[1] = np.asarray(losses)
        if not np.isfinite(state[1]).all():
            raise ArithmeticError("the loss is not finite")
    return run, steps


def wide(d, h, layers, batch, batches=8):
    """A C-MGN of MNIST's size, x W taken once; run() does an epoch of batches, one jitted step each."""
    f = lambda *s: jnp.asarray(rng.standard_normal(s), jnp.float32)
    p = dict(W=f(d, h) / np.float32(np.sqrt(d)), V=jnp.asarray(np.linalg.qr(rng.standard_normal((d, d)))[0], jnp.float32),
             b=f(layers, h), bL=f(d))
    x = jnp.asarray(rng.uniform(-1.7, 1.7, (batches, batch, d)), jnp.float32)
    y = jnp.maximum(-1, jnp.asarray(rng.uniform(-9, 1, (batches, batch, d)), jnp.float32))

    def g(p, x):
        u = x @ p["W"]
        z = u + p["b"][0]
        for l in range(1, layers):
            z = u + jax.nn.sigmoid(z) + p["b"][l]
        return jax.nn.sigmoid(z) @ p["W"].T + (x @ p["V"]) @ p["V"].T + p["bL"]

    value = jax.value_and_grad(lambda p, x, y: jnp.square(g(p, x) - y).mean())

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(p, s, x, y):
        l, d = value(p, x, y)
        m, v, t = s
        m = jax.tree.map(lambda m, d: .9 * m + .1 * d, m, d)
        v = jax.tree.map(lambda v, d: .999 * v + .001 * d * d, v, d)
        t = t + 1
        a, b = 1e-3 / (1 - .9 ** t), 1 / (1 - .999 ** t)
        return jax.tree.map(lambda p, m, v: p - a * m / (jnp.sqrt(v * b) + 1e-8), p, m, v), (m, v, t), l

    zeros = lambda: jax.tree.map(jnp.zeros_like, p)
    xs, ys = list(x), list(y)
    state = [p, (zeros(), zeros(), jnp.float32(0))]

    def run():
        for i in range(batches):
            *state[:], loss = step(*state, xs[i], ys[i])
        if not np.isfinite(loss):
            raise ArithmeticError("the loss is not finite")
    return run, batches


tasks = {}
for h, layers, n in (512, 32, 256), (256, 10, 512):
    tasks[f"wide cmgn d=784 h={h} L={layers} mse batch {n}"] = [partial(wide, 784, h, layers, n)]
for h, nets in (2, [cmgn]), (3, [mmgn, mmgn_together]):
    for loss in (l1, nll):
        name = f"step {nets[0].__name__} d=2 h={h} {loss.__name__} batch "
        tasks[name + "32"] = [partial(epochs, net, loss, h, 32, PLANE, unroll) for net in nets for unroll in (1, 4)]
        tasks[name + "10000"] = [partial(epochs, net, loss, h, PLANE, PLANE) for net in nets]
tasks[f"step cmgn d=3 h=3 kl batch {COLOUR // 4}"] = [
    partial(epochs, cmgn, kl, 3, COLOUR // 4, COLOUR, 1, .01, .05, 1.)]
serve(f"JAX {jax.__version__}", tasks)
