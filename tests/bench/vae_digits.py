#!/usr/bin/env python3
"""A variational autoencoder for `mgn experiment mnist` to be held against: an MLP VAE in PyTorch.

    tests/bench/vae_digits.py DIR SAMPLES.npy [--seconds 120] [--hidden 630] [--latent 16] [--mgn build/host/cli/mgn]

DIR holds train-images-idx3-ubyte.gz and t10k-images-idx3-ubyte.gz. Trains for that many seconds of this process's CPU time
(of all its threads, so that a busy machine takes nothing away) and writes 10,000 means of the decoder. mgn then judges them
as the experiment judges its own. The defaults have 1.4 million parameters, as the experiment's best recipe has; binary
cross-entropy, ReLU, Adam with learning rate 1e-3 and batches of 128 are what is usual for this model.
"""
import argparse
import gzip
import json
import os
import subprocess
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def read_digits(path):
    with gzip.open(path) as stream:
        content = stream.read()
    count = int.from_bytes(content[4:8], "big")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=16).reshape(count, -1).astype(np.float32) / 255)


class Autoencoder(nn.Module):
    def __init__(self, d, hidden, latent):
        super().__init__()
        self.latent = latent
        self.encoder = nn.Sequential(nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, hidden // 2), nn.ReLU(),
                                     nn.Linear(hidden // 2, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden // 2), nn.ReLU(), nn.Linear(hidden // 2, hidden),
                                     nn.ReLU(), nn.Linear(hidden, d))

    def loss(self, x):
        mean, log_variance = self.encoder(x).chunk(2, 1)
        logits = self.decoder(mean + torch.exp(log_variance / 2) * torch.randn_like(mean))
        divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum()
        return (F.binary_cross_entropy_with_logits(logits, x, reduction="sum") + divergence) / len(x)

    @torch.no_grad()
    def sample(self, count):
        return torch.sigmoid(self.decoder(torch.randn(count, self.latent)))


def train(model, digits, seconds):
    optimizer, start, steps = torch.optim.Adam(model.parameters(), 1e-3), time.process_time(), 0
    while time.process_time() - start < seconds:
        for batch in torch.randperm(len(digits)).split(128):
            optimizer.zero_grad()
            model.loss(digits[batch]).backward()
            optimizer.step()
            steps += 1
            if time.process_time() - start >= seconds:
                break
    return steps, time.process_time() - start


def figure(command, key):
    return json.loads(subprocess.run(command + ["--json", "-q"], check=True, capture_output=True, text=True).stdout)[key]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("samples")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--hidden", type=int, default=630)
    parser.add_argument("--latent", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mgn", default="build/host/cli/mgn")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    digits = read_digits(os.path.join(options.folder, "train-images-idx3-ubyte.gz"))
    test = os.path.join(options.folder, "t10k-images-idx3-ubyte.gz")
    model = Autoencoder(digits.shape[1], options.hidden, options.latent)
    steps, seconds = train(model, digits, options.seconds)
    np.save(options.samples, model.sample(10000).numpy())
    print(json.dumps({
        "parameters": sum(p.numel() for p in model.parameters()), "steps": steps, "cpu_seconds": round(seconds, 1),
        "sinkhorn": figure([options.mgn, "sinkhorn", options.samples, test, "--scaling", ".9"], "value"),
        "frechet": figure([options.mgn, "w2", options.samples, test, "--frechet", "64"], "frechet_squared"),
    }))


if __name__ == "__main__":
    main()
