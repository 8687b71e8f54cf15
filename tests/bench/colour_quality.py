#!/usr/bin/env python3
"""How good recoloured pictures are: squared sliced Wasserstein distance of the palette to the target's (256 directions,
65,536 pixels), correlation of the grey gradients with the source's, and the share of pixels that became clipped.

usage: colour_quality.py SOURCE TARGET [--mgn build/host/cli/mgn] [--peers]
Runs `mgn recolor` over its smoothness; --peers adds color-matcher (MKL, HM-MVGD-HM) and POT (linear, EMD, Sinkhorn), which
take minutes. Needs numpy and Pillow; color-matcher and POT for the peers.
"""
import argparse
import os
import subprocess
import tempfile
import time

import numpy as np
from PIL import Image

GREY = np.array([0.299, 0.587, 0.114], np.float32)


def load(path):
    return np.asarray(Image.open(path).convert("RGB"), dtype=np.float32) / 255


def sliced_w2(a, b, pixels=65536, directions=256):
    random = np.random.RandomState(0)
    a = a.reshape(-1, 3)[random.randint(a.size // 3, size=pixels)]
    b = b.reshape(-1, 3)[random.randint(b.size // 3, size=pixels)]
    along = random.randn(3, directions)
    along /= np.linalg.norm(along, axis=0)
    return np.mean((np.sort(a @ along, axis=0) - np.sort(b @ along, axis=0)) ** 2)


def gradients(image):
    grey = image @ GREY
    return np.concatenate([np.diff(grey, axis=0).ravel(), np.diff(grey, axis=1).ravel()])


def clipped(image):
    return ((image <= 0) | (image >= 1)).any(-1).mean()


def report(name, seconds, source, result, target):
    print(f"{name:28s} {seconds:7.2f} s  SW2^2 {sliced_w2(result, target):.5f}  gradients "
          f"{np.corrcoef(gradients(source), gradients(result))[0, 1]:.4f}  clipped {clipped(result) - clipped(source):+.3f}",
          flush=True)


def run_mgn(mgn, paths, source, target):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out.png")
        for smoothness in (0, 0.2, 0.4, 0.6, 0.8, 0.86, 0.9, 1):
            start = time.time()
            subprocess.run([mgn, "recolor", paths[0], "--like", paths[1], "-o", out, "--smoothness", str(smoothness), "-q"],
                           check=True, stdout=subprocess.DEVNULL)
            report(f"mgn, smoothness {smoothness}", time.time() - start, source, load(out), target)


def rounded(image, shape):
    return (np.clip(np.round(image.reshape(shape) * 255), 0, 255) / 255).astype(np.float32)


def run_peers(source, target):
    import ot
    from color_matcher import ColorMatcher
    for method in ("mkl", "hm-mvgd-hm"):
        start = time.time()
        result = ColorMatcher().transfer(src=source.astype(np.float64) * 255, ref=target.astype(np.float64) * 255,
                                         method=method)
        report(f"color-matcher {method}", time.time() - start, source, rounded(result / 255, source.shape), target)
    random = np.random.RandomState(42)
    x, y = (image.reshape(-1, 3).astype(np.float64) for image in (source, target))
    few = x[random.randint(len(x), size=1000)], y[random.randint(len(y), size=1000)]
    for name, method in (("linear", ot.da.LinearTransport()), ("Sinkhorn", ot.da.SinkhornTransport(reg_e=0.1)),
                         ("EMD", ot.da.EMDTransport())):
        start = time.time()
        method.fit(Xs=few[0], Xt=few[1])
        result = np.concatenate([method.transform(Xs=x[i:i + 16384]) for i in range(0, len(x), 16384)])
        report(f"POT {name}, 1000 pixels", time.time() - start, source, rounded(result, source.shape), target)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--mgn", default="build/host/cli/mgn")
    parser.add_argument("--peers", action="store_true")
    options = parser.parse_args()
    source, target = load(options.source), load(options.target)
    report("none", 0, source, source, target)
    run_mgn(options.mgn, (options.source, options.target), source, target)
    if options.peers:
        run_peers(source, target)


if __name__ == "__main__":
    main()
