"""Reads a saved map with nothing but Python's standard library, and holds it to the library's results.

    python3 read_map.py MAP.safetensors X.csv Y.csv

X.csv has rows, Y.csv what the library says their images are. Prints the largest difference, relative to 1 + |y|, and exits
with 1 when it is above 1e-5. The functions below are the two published networks (arXiv 2301.10862, eq. 3 and 5), written
anew from their equations, for who wants to take a map elsewhere."""
import json
import math
import struct
import sys


def read_safetensors(path):
    """Its metadata, and {name: rows of numbers}; a vector is a single row."""
    with open(path, "rb") as file:
        data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    metadata, tensors = header.pop("__metadata__", {}), {}
    for name, entry in header.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        letter, width = {"F32": ("f", 4), "F64": ("d", 8)}[entry["dtype"]]
        values = struct.unpack("<%d%s" % ((end - begin) // width, letter), data[begin:end])
        columns = entry["shape"][-1]
        tensors[name] = [values[i : i + columns] for i in range(0, len(values), columns)]
    return metadata, tensors


def times(matrix, x):
    return [sum(a * b for a, b in zip(row, x)) for row in matrix]


def transposed(matrix):
    return list(zip(*matrix))


def plus(*vectors):
    return [sum(entries) for entries in zip(*vectors)]


def logistic(z):
    return 1 / (1 + math.exp(-z)) if z > 0 else math.exp(z) / (1 + math.exp(z))


def softplus(z):
    return max(z, 0) + math.log1p(math.exp(-abs(z)))


ACTIVATIONS = {"logistic": logistic, "tanh": math.tanh, "softplus": softplus}


def quadratic(p, x):
    return times(transposed(p["V"]), times(p["V"], x))


def cmgn(metadata, p, x):
    s = ACTIVATIONS[metadata["activation"]]
    u = times(p["W"], x)
    z = plus(u, p["b0"][0])
    for l in range(1, int(metadata["layers"])):
        z = plus(u, [s(e) for e in z], p["b%d" % l][0])
    return plus(times(transposed(p["W"]), [s(e) for e in z]), quadratic(p, x), p["bL"][0])


def mmgn(metadata, p, x):
    assert metadata["activation"] == "tanh"
    g = plus(quadratic(p, x), p["a"][0])
    for k in range(int(metadata["layers"])):
        z = plus(times(p["W%d" % k], x), p["b%d" % k][0])
        s = sum(abs(e) + math.log1p(math.exp(-2 * abs(e))) - math.log(2) for e in z)  # log cosh
        g = plus(g, [s * e for e in times(transposed(p["W%d" % k]), [math.tanh(e) for e in z])])
    return g


def mapped(metadata, p, x):
    """g(x) = offset + factor A^T f(A (x - shift)): the frame, where there is one, around the network."""
    f = {"cmgn": cmgn, "mmgn": mmgn}[metadata["model"]]
    if "frame" not in metadata:
        return f(metadata, p, x)
    a = p["frame.matrix"]
    if len(a) == 1 and len(x) > 1:
        a = [[e if i == j else 0 for j in range(len(x))] for i, e in enumerate(a[0])]
    y = f(metadata, p, times(a, [e - m for e, m in zip(x, p["frame.shift"][0])]))
    return plus(p["frame.offset"][0], [float(metadata["frame"]) * e for e in times(transposed(a), y)])


def rows(path):
    with open(path) as file:
        return [[float(word) for word in line.split(",")] for line in file if line.strip()]


def main(path, x_path, y_path):
    metadata, p = read_safetensors(path)
    worst, count = 0.0, 0
    for x, y in zip(rows(x_path), rows(y_path)):
        size = 1 + math.sqrt(sum(e * e for e in y))
        worst = max([worst] + [abs(a - b) / size for a, b in zip(mapped(metadata, p, x), y)])
        count += 1
    print("%s: %d rows, largest relative difference %.3g" % (metadata["model"], count, worst))
    return 0 if count and worst <= 1e-5 else 1


sys.exit(main(*sys.argv[1:]))
