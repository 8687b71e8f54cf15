"""The calls of `mgn bench` on clouds: the Sinkhorn divergence with its gradient by GeomLoss, exact transport by POT, a
mixture of Gaussians by scikit-learn, each from arrays in memory."""
import os
import sys

sys.dont_write_bytecode = True
from peer import need, serve

np, torch, geomloss, ot, mixture = need("numpy", "torch", "geomloss", "ot", "sklearn.mixture")
from functools import partial

torch.set_num_threads(os.cpu_count())
rng = np.random.default_rng(1)


def clouds(n, d):
    unit = .2 if d > 16 else 1
    return (unit * rng.random((n, d))).astype("f4"), (unit * (.1 + .8 * rng.random((n, d)))).astype("f4")


def sinkhorn(n, d, scaling):
    x, y = map(torch.from_numpy, clouds(n, d))
    x.requires_grad_()
    loss = geomloss.SamplesLoss("sinkhorn", p=2, blur=.05, scaling=scaling, debias=True, backend="tensorized")

    def run():
        x.grad = None
        loss(x, y).backward()
    return run, 1


def w2(n, d):
    x, y = clouds(n, d)
    weights = np.full(n, 1 / n)
    return lambda: ot.emd2(weights, weights, ot.dist(x.astype("f8"), y.astype("f8")), numItermax=10**7), 1


def em(n, d, k):
    """In both precisions; its default start and tolerance (1e-3; mgn's is 1e-5)."""
    i = np.arange(n)[:, None]
    x = .15 * (i * (1 + np.arange(d)) % 5) + .25 * (rng.random((n, d)) + rng.random((n, d)))
    return [(lambda x=x.astype(t): mixture.GaussianMixture(k, random_state=0).fit(x), 1) for t in ("f4", "f8")]


tasks = {f"cloud sinkhorn {n}x{d} scaling {scaling}": [partial(sinkhorn, n, d, scaling)]
         for n, d, scaling in [(1000, 3, .5), (1000, 3, .9), (4096, 3, .5), (4096, 3, .9), (512, 784, .5),
                               (512, 784, .9), (4096, 64, .5)]}
tasks["cloud w2 4096x3"] = [partial(w2, 4096, 3)]
tasks["cloud em 100000x3 k 5"] = [lambda i=i: em(100000, 3, 5)[i] for i in range(2)]
serve("GeomLoss, POT, scikit-learn", tasks)
