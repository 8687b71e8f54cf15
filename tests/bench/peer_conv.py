"""The convolutional step of `mgn bench` in PyTorch: forward, backward and Adam of a convolutional C-MGN with 32 filters of
5 x 5 and 2 layers, which share their weights, on pictures of 32 x 32 x 3, for MSE. Pictures are kept as rows of
interleaved pixels, as mgn keeps them, and go through the layers as planes or, with channels_last, as they are."""
import math
import sys

sys.dont_write_bytecode = True
from functools import partial
from peer import need, serve

(torch,) = need("torch")
from torch.nn import functional as F

SIDE, CHANNELS, FILTERS, KERNEL, LAYERS, BATCH = 32, 3, 32, 5, 2, 64
D, PADDING = SIDE * SIDE * CHANNELS, KERNEL // 2


def forward(W, V, biases, last, rows, layout):
    x = rows.view(-1, SIDE, SIDE, CHANNELS).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    u = F.conv2d(x, W, padding=PADDING)
    z = u + biases[0]
    for b in biases[1:]:
        z = u + torch.sigmoid(z) + b
    quadratic = F.conv_transpose2d(F.conv2d(x, V, padding=PADDING), V, padding=PADDING)
    y = F.conv_transpose2d(torch.sigmoid(z), W, padding=PADDING) + quadratic + last
    return y.permute(0, 2, 3, 1).reshape(-1, D)


def step(layout):
    torch.manual_seed(1)
    normal = lambda *shape: torch.randn(*shape).requires_grad_()
    W, V = normal(FILTERS, CHANNELS, KERNEL, KERNEL), normal(CHANNELS, CHANNELS, KERNEL, KERNEL)
    with torch.no_grad():
        W /= math.sqrt(CHANNELS) * KERNEL
        V /= math.sqrt(CHANNELS) * KERNEL
    biases, last = [normal(FILTERS, 1, 1) for _ in range(LAYERS)], normal(CHANNELS, 1, 1)
    optimizer = torch.optim.Adam([W, V, *biases, last], lr=1e-3)
    x, y = torch.randn(BATCH, D), torch.rand(BATCH, D) * 2 - 1

    def run():
        optimizer.zero_grad()
        loss = torch.square(forward(W, V, biases, last, x, layout) - y).mean()
        loss.backward()
        optimizer.step()
        if not math.isfinite(loss.item()):
            raise ArithmeticError("the loss is not finite")
    return run, 1


serve(f"PyTorch {torch.__version__}", {f"step conv-cmgn d={D} h={FILTERS} mse batch {BATCH}":
                                       [partial(step, layout) for layout in (torch.contiguous_format, torch.channels_last)]})
