"""What the checks of the examples share."""

import numpy as np


def arr(*rows):
    return np.array(rows, dtype=float)


def relu(x):
    return np.maximum(x, 0)


def sig(x):
    return 1 / (1 + np.exp(-np.asarray(x, float)))


def softmax(x, axis=-1):
    x = np.asarray(x, float)
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def masked_softmax(x, mask):
    return softmax(np.where(mask, x, -np.inf))


def layer_norm(x, eps=1e-5):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)


def rms_norm(x, eps=1e-5):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)


def positional_encoding(n, d, base=10000.0):
    angle = np.arange(n)[:, None] / base ** (np.arange(0, d, 2) / d)
    return np.stack([np.sin(angle), np.cos(angle)], -1).reshape(n, d)


def rope(x, position, style="norm", base=10000.0):
    """Rows of x[…, d] (positions first) as complex numbers, turned."""
    d = x.shape[-1]
    angle = (position + np.arange(x.shape[0]))[:, None] * base ** (-np.arange(0, d, 2) / d)
    turn = np.exp(1j * angle).reshape((x.shape[0],) + (1,) * (x.ndim - 2) + (d // 2,))
    if style == "norm":
        z = (x[..., 0::2] + 1j * x[..., 1::2]) * turn
        return np.stack([z.real, z.imag], -1).reshape(x.shape)
    z = (x[..., : d // 2] + 1j * x[..., d // 2 :]) * turn
    return np.concatenate([z.real, z.imag], -1)


def philox(seed, stream, blocks):
    """The words of Philox4x32-10 for counters (block, 0, stream, 0)."""
    mask = (1 << 32) - 1
    words = []
    for block in range(blocks):
        c, k = [block, 0, stream, 0], [seed & mask, seed >> 32]
        for _ in range(10):
            p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & mask, (p0 >> 32) ^ c[3] ^ k[1], p0 & mask]
            k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
        words.append(c)
    return np.array(words, dtype=np.float64)


def randn(shape, seed):
    n = int(np.prod(shape))
    w = philox(seed, 1, -(-n // 4))
    u, angle = (w[:, 0::2] + 1) * 2.0**-32, 2 * np.pi * w[:, 1::2] * 2.0**-32
    r = np.sqrt(-2 * np.log(u))
    return np.stack([r * np.cos(angle), r * np.sin(angle)], -1).reshape(-1)[:n].reshape(shape)


def rand(shape, seed):
    n = int(np.prod(shape))
    return (np.floor(philox(seed, 0, -(-n // 4)) / 256) * 2.0**-24).reshape(-1)[:n].reshape(shape)
