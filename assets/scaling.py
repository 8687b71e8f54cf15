#!/usr/bin/env python3
"""How long a step of `mgn fit` takes under R processes, by a model of its cost, and by the clock.

A step of n rows and p parameters in B blocks costs on each of R processes

    t(R) = ceil(B / R) (t_fixed + n / B t_row) + (R > 1) (2 alpha log2 R + v(R) / beta)

t_row      computing a row's part of the gradient; t_fixed is what a block costs besides
alpha      latency of a message; agreeing and adding each take log2 R of them one after the other
v(R)       bytes that a process sends: short gradients (4 p <= 64 KiB) go to all, 4 p (R - 1); long ones are cut into
           segments, 8 p (R - 1) / R
beta       bytes a second between two processes

    scaling.py MGN                       measures 1 and 2 processes here, beside what the model says
    scaling.py --rows 65536 --parameters 1e6 --row 2e-6 --latency 5e-6 --bandwidth 1e10     only computes, to 1,024 processes

With MGN, t_row and t_fixed come from runs of one process with two sizes of batch, alpha from two processes and a model
so small that nothing else counts; the table is of other batches than these.
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


def message_bytes(parameters, ranks):
    size = 4 * (parameters + 1)
    return size * (ranks - 1) if size <= LONG else 2 * size * (ranks - 1) / ranks


def step_seconds(rows, parameters, ranks, per_row, fixed, latency, bandwidth):
    blocks = max(BLOCKS, ranks)
    seconds = math.ceil(blocks / ranks) * (fixed + per_row * rows / blocks)
    if ranks > 1:
        seconds += 2 * latency * math.log2(ranks) + message_bytes(parameters, ranks) / bandwidth
    return seconds


def enough_rows(parameters, ranks, per_row, fixed, latency, bandwidth):
    """Rows of a batch of which each process computes, without anything besides, four fifths of a step."""
    besides = step_seconds(0, parameters, ranks, per_row, fixed, latency, bandwidth)
    return 4 * ranks * besides / per_row


def write_rows(path, count):
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, 2), }" % count
    state, values = 1, []
    for _ in range(2 * count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append((state >> 40) / 2**23 - 1)
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header.ljust(117).encode() + b"\n")
        file.write(struct.pack("<%df" % len(values), *values))


def measure(mgn, folder, ranks, batch, width, tries=3):
    """Seconds of a step, the fastest of some runs, and the number of parameters."""
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    launcher = ["mpirun", "--oversubscribe", "-n", str(ranks)] if ranks > 1 else []
    options = ["-s", folder + "/x.npy", "-t", "normal:2", "-o", folder + "/map", "--batch", str(batch), "--epochs", "20",
               "--width", str(width), "--blocks", str(BLOCKS), "--device", "cpu", "--threads", "1", "--json", "-q"]
    best, parameters = math.inf, 0
    for _ in range(tries):
        done = subprocess.run(launcher + [mgn, "fit"] + options, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stderr)
        result = json.loads(done.stdout)
        best = min(best, result["train_s"] / result["recipe"]["steps"])
        parameters = result["parameters"]
    return best, parameters


def compare(mgn):
    with tempfile.TemporaryDirectory() as folder:
        write_rows(folder + "/x.npy", 1 << 16)
        print("rows a step  parameters  processes  measured, us  model, us  ratio")
        for width in 8, 64:
            small, parameters = measure(mgn, folder, 1, 1 << 10, width)
            large, _ = measure(mgn, folder, 1, 1 << 14, width)
            per_row = (large - small) / ((1 << 14) - (1 << 10))
            fixed = max(small - per_row * (1 << 10), 0) / BLOCKS
            pair, _ = measure(mgn, folder, 2, 1 << 10, width)
            latency = max(pair - small / 2, 0) / 2
            for batch in 1 << 12, 1 << 13, 1 << 15:
                for ranks in 1, 2:
                    seconds, _ = measure(mgn, folder, ranks, batch, width)
                    model = step_seconds(batch, parameters, ranks, per_row, fixed, latency, 1e10)
                    print("%11d  %10d  %9d  %12.1f  %9.1f  %5.2f" %
                          (batch, parameters, ranks, 1e6 * seconds, 1e6 * model, seconds / model))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mgn", nargs="?")
    parser.add_argument("--rows", type=float, default=65536)
    parser.add_argument("--parameters", type=float, default=1e4)
    parser.add_argument("--row", type=float, default=1e-6, help="seconds of a row on one process")
    parser.add_argument("--fixed", type=float, default=5e-6, help="seconds of a block besides its rows")
    parser.add_argument("--latency", type=float, default=5e-6)
    parser.add_argument("--bandwidth", type=float, default=1e10)
    o = parser.parse_args()
    if o.mgn:
        compare(o.mgn)
        return
    print("processes  a step, ms  speed-up  sent by each, MB  rows for 80 %")
    alone = step_seconds(o.rows, o.parameters, 1, o.row, o.fixed, o.latency, o.bandwidth)
    for ranks in 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024:
        seconds = step_seconds(o.rows, o.parameters, ranks, o.row, o.fixed, o.latency, o.bandwidth)
        sent = message_bytes(o.parameters, ranks) if ranks > 1 else 0
        enough = enough_rows(o.parameters, ranks, o.row, o.fixed, o.latency, o.bandwidth)
        print("%9d  %10.3f  %8.2f  %16.3f  %13.0f" % (ranks, 1e3 * seconds, alone / seconds, sent / 1e6, enough))


if __name__ == "__main__":
    main()
