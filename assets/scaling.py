#!/usr/bin/env python3
"""How long a step of `mgn fit` takes under R processes, by a model of its cost, and by the clock.

A step of n rows and p parameters in B blocks costs on each of R processes

    t(R) = t_once + ceil(B / R) (t_fixed + n / B t_row) + (R > 1) (2 k alpha log2 R + v(R) / beta)

t_row      computing a row's part of the gradient; t_fixed is what a block costs besides
t_once     what every process does whatever R is: the optimizer's step, and of moments the loss and its slopes
k          rounds of adding up: 1; of losses of moments (kl) 2, since the gradient needs the moments of all rows
alpha      latency of a message; agreeing and adding each take log2 R of them one after the other, in each round
v(R)       bytes that a process sends: short gradients (4 p <= 64 KiB) go to all, 4 p (R - 1); long ones are cut into
           segments, 8 p (R - 1) / R; moments of d dimensions go to all, 8 (d + d^2) (R - 1)
beta       bytes a second between two processes

    scaling.py MGN                       measures 1 and 2 processes here, beside what the model says
    scaling.py --rows 65536 --parameters 1e6 --row 2e-6 --latency 5e-6 --bandwidth 1e10     only computes, to 1,024 processes

With MGN, t_row, t_fixed and t_once come from runs of one process: of two sizes of batch, and of half as many blocks of as
many rows. alpha comes from two processes and the first model, so small that little else counts; the table is of other
batches than these.
"""
import argparse
import json
import math
import os
import struct
import subprocess
import sys
import tempfile

BLOCKS = 16
LONG = 64 << 10


class Cost:
    """Seconds and bytes of one kind of step; `moments`: dimensions of a loss of these, else 0."""

    def __init__(self, parameters, per_row, fixed, once, moments=0):
        self.parameters, self.per_row, self.fixed, self.once = parameters, per_row, fixed, once
        self.moments = moments

    def message_bytes(self, ranks):
        size = 4 * (self.parameters + 1)
        sent = size * (ranks - 1) if size <= LONG else 2 * size * (ranks - 1) / ranks
        return sent + 8 * (self.moments + self.moments**2) * (ranks - 1)

    def step(self, rows, ranks, latency, bandwidth):
        blocks = max(BLOCKS, ranks)
        seconds = self.once + math.ceil(blocks / ranks) * (self.fixed + self.per_row * rows / blocks)
        if ranks > 1:
            rounds = 2 if self.moments else 1
            seconds += 2 * rounds * latency * math.log2(ranks) + self.message_bytes(ranks) / bandwidth
        return seconds

    def enough_rows(self, ranks, latency, bandwidth):
        """Rows of a batch of which each process computes, without anything besides, four fifths of a step."""
        return 4 * ranks * self.step(0, ranks, latency, bandwidth) / self.per_row


def write_rows(path, count, dimension):
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }" % (count, dimension)
    state, values = 1, []
    for _ in range(dimension * count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append((state >> 40) / 2**23 - 1)
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header.ljust(117).encode() + b"\n")
        file.write(struct.pack("<%df" % len(values), *values))


def measure(mgn, folder, case, ranks, batch, blocks=BLOCKS, tries=5):
    """Seconds of a step, the fastest of some runs, and the number of parameters."""
    loss, dimension, width = case
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    launcher = ["mpirun", "--oversubscribe", "-n", str(ranks)] if ranks > 1 else []
    options = ["-s", "%s/%d.npy" % (folder, dimension), "-t", "normal:%d" % dimension, "-o", folder + "/map", "--loss", loss,
               "--batch", str(batch), "--epochs", str(10 + batch // 512), "--width", str(width), "--blocks", str(blocks),
               "--device", "cpu", "--threads", "1", "--json", "-q"]
    best, parameters = math.inf, 0
    for _ in range(tries):
        done = subprocess.run(launcher + [mgn, "fit"] + options, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stderr)
        result = json.loads(done.stdout)
        best = min(best, result["train_s"] / result["recipe"]["steps"])
        parameters = result["parameters"]
    return best, parameters


def find_cost(mgn, folder, case):
    small, parameters = measure(mgn, folder, case, 1, 1 << 10)
    half, _ = measure(mgn, folder, case, 1, 1 << 9, BLOCKS // 2)
    large, _ = measure(mgn, folder, case, 1, 1 << 14)
    per_row = (large - small) / ((1 << 14) - (1 << 10))
    once = max(2 * half - small, 0)
    fixed = max(small - once - per_row * (1 << 10), 0) / BLOCKS
    return Cost(parameters, per_row, fixed, once, case[1] if case[0] == "kl" else 0)


def compare(mgn):
    latency = None
    with tempfile.TemporaryDirectory() as folder:
        for dimension in 2, 3:
            write_rows("%s/%d.npy" % (folder, dimension), 1 << 16, dimension)
        print("loss  rows a step  parameters  processes  measured, us  model, us  ratio")
        for case in ("nll", 2, 8), ("kl", 3, 8), ("nll", 2, 64):
            cost = find_cost(mgn, folder, case)
            if latency is None:
                pair, _ = measure(mgn, folder, case, 2, 1 << 10)
                latency = max(pair - cost.step(1 << 10, 2, 0, 1e10), 0) / 2
            print("%s of %d: a row %.4f us, a block %.2f us, a step %.2f us, a message %.2f us" %
                  (case[0], cost.parameters, 1e6 * cost.per_row, 1e6 * cost.fixed, 1e6 * cost.once, 1e6 * latency))
            for batch in 1 << 12, 1 << 15:
                for ranks in 1, 2:
                    seconds, _ = measure(mgn, folder, case, ranks, batch)
                    model = cost.step(batch, ranks, latency, 1e10)
                    print("%-4s  %11d  %10d  %9d  %12.1f  %9.1f  %5.2f" % (case[0], batch, cost.parameters, ranks,
                          1e6 * seconds, 1e6 * model, seconds / model), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mgn", nargs="?")
    parser.add_argument("--rows", type=float, default=65536)
    parser.add_argument("--parameters", type=float, default=1e4)
    parser.add_argument("--row", type=float, default=1e-6, help="seconds of a row on one process")
    parser.add_argument("--fixed", type=float, default=5e-6, help="seconds of a block besides its rows")
    parser.add_argument("--once", type=float, default=2e-6, help="seconds of a step besides its blocks")
    parser.add_argument("--moments", type=int, default=0, metavar="D", help="the loss is one of moments of D dimensions")
    parser.add_argument("--latency", type=float, default=5e-6)
    parser.add_argument("--bandwidth", type=float, default=1e10)
    o = parser.parse_args()
    if o.mgn:
        compare(o.mgn)
        return
    print("processes  a step, ms  speed-up  sent by each, MB  rows for 80 %")
    cost = Cost(o.parameters, o.row, o.fixed, o.once, o.moments)
    alone = cost.step(o.rows, 1, o.latency, o.bandwidth)
    for ranks in 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024:
        seconds = cost.step(o.rows, ranks, o.latency, o.bandwidth)
        sent = cost.message_bytes(ranks) if ranks > 1 else 0
        enough = cost.enough_rows(ranks, o.latency, o.bandwidth)
        print("%9d  %10.3f  %8.2f  %16.3f  %13.0f" % (ranks, 1e3 * seconds, alone / seconds, sent / 1e6, enough))


if __name__ == "__main__":
    main()
