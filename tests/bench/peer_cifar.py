#!/usr/bin/env python3
"""What maps that need not be monotone reach on `mgn experiment cifar`: the same pictures, the same held-out error.

    peer_cifar.py FOLDER        the folder that has data_batch_1.bin

A network of one hidden layer (PyTorch, ReLU, AdamW, mirrored pictures) and kernel ridge regression (Laplace kernel,
whose ridge is the best on the pictures held out) learn the colour of grey pictures without any constraint.
"""
import sys

import numpy as np
import torch

LEARNED, HELD = 9000, 1000
torch.manual_seed(0)


def read(folder):
    records = np.fromfile(f"{folder}/data_batch_1.bin", np.uint8).reshape(-1, 3073)
    colour = records[:, 1:].astype(np.float32).reshape(-1, 3, 1024) / 255
    luma = np.round(255 * (colour * np.float32([[[0.299], [0.587], [0.114]]])).sum(1)) / 255
    return luma.astype(np.float32), colour.reshape(-1, 3072)


def show(label, found, truth):
    error = (found - truth).reshape(-1, 3, 1024)
    luma = (error.mean(1) ** 2).mean()
    print(f"{label}: mse {(error**2).mean():.6f}, of it colour {(error**2).mean() - luma:.6f}", flush=True)


def mirrored(rows, channels):
    return rows.view(-1, channels, 32, 32).flip(-1).reshape(len(rows), -1)


def network(luma, colour, width=256, epochs=15, batch=128):
    s, y = torch.from_numpy(luma), torch.from_numpy(colour)
    net = torch.nn.Sequential(torch.nn.Linear(1024, width), torch.nn.ReLU(), torch.nn.Linear(width, 3072))
    torch.nn.init.zeros_(net[2].weight)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.1)
    steps = epochs * -(-LEARNED // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(LEARNED).split(batch):
            x, aim = s[rows], y[rows]
            if torch.rand(()) < 0.5:
                x, aim = mirrored(x, 1), mirrored(aim, 3)
            loss = ((net(x - 0.47) + x.repeat(1, 3) - aim) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        return (net(s[LEARNED:] - 0.47) + s[LEARNED:].repeat(1, 3)).numpy()


def kernel(a, b, scale):
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T
    return np.exp(-np.sqrt(np.maximum(squares, 0) / scale))


def ridge(luma, colour):
    s, held = luma[:LEARNED], luma[LEARNED:]
    rest = colour[:LEARNED] - np.tile(s, 3)
    mean, scale = rest.mean(0), 2 * s.var(0).sum()
    K, across = kernel(s, s, scale), kernel(held, s, scale)
    found = [across @ np.linalg.solve(K + np.float32(r) * np.eye(LEARNED, dtype=np.float32), rest - mean) + mean
             + np.tile(held, 3) for r in (0.1, 0.5, 2)]
    return min(found, key=lambda f: ((f - colour[LEARNED:]) ** 2).mean())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    luma, colour = (table[: LEARNED + HELD] for table in read(sys.argv[1]))
    truth = colour[LEARNED:]
    show("grey", np.tile(luma[LEARNED:], 3), truth)
    show("network", network(luma, colour), truth)
    show("kernel ridge", ridge(luma, colour), truth)
