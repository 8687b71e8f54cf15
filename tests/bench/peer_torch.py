"""The colour map of `mgn bench` (apply, bytes to bytes) in compiled PyTorch: by coordinates, and as products."""
import sys

sys.dont_write_bytecode = True
from peer import need, serve

(torch,) = need("torch")
PIXELS = 3972 * 2648

torch.manual_seed(1)
W, V = torch.randn(3, 3), torch.linalg.qr(torch.randn(3, 3))[0]
b0, b1, bL, Q = torch.randn(3), torch.randn(3), torch.randn(3), V.T @ V


def to_bytes(y):
    return (y.clamp(0, 1) * 255 + .5).to(torch.uint8)


def by_coordinates(t):
    x = [t[:, i].float() / 255 for i in range(3)]
    u = [sum(W[j, i] * x[i] for i in range(3)) for j in range(3)]
    s = [torch.sigmoid(u[j] + torch.sigmoid(u[j] + b0[j]) + b1[j]) for j in range(3)]
    return torch.stack([to_bytes(sum(W[j, i] * s[j] + Q[i, j] * x[j] for j in range(3)) + bL[i]) for i in range(3)], -1)


def by_products(t):
    x = t.float() / 255
    u = x @ W.T
    return to_bytes(torch.sigmoid(u + torch.sigmoid(u + b0) + b1) @ W + x @ Q + bL)


def apply(f):
    pixels, compiled = torch.randint(0, 256, (PIXELS, 3), dtype=torch.uint8), torch.compile(f, dynamic=False)

    def run():
        with torch.inference_mode():
            compiled(pixels)
    return run, 1


ways = [lambda f=f: apply(f) for f in (by_coordinates, by_products)]
serve(f"torch.compile {torch.__version__}", {"apply cmgn u8": ways})
