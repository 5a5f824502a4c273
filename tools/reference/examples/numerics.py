"""examples/numerics in NumPy, in the element types that the programs use."""

import numpy as np

from common import arr, layer_norm, rms_norm, softmax


def softmax_overflow():
    x = arr(1, 2, 1000)
    yield [[0, 0, np.nan], softmax(x), softmax(x), [-np.inf, -np.inf, 0], x - 1000]


def float16_rounding():
    with np.errstate(over="ignore"):
        yield np.array([0.1, 0.2, 2048.5, 2049, 65519, 65520]).astype(np.float16).astype(float)
    one = np.float16(1)
    yield [one + one * np.float16(0.0004), one + one * np.float16(0.0006)]
    total = np.float16(0)
    for _ in range(300):
        total += np.float16(8)
    yield int(total)
    for _ in range(300):
        total += np.float16(0.5)
    yield int(total)
    yield [300 * 250, 250]


def normalisation():
    x = arr([1, 2, 3, 4], [5, 5, 5, 5])
    yield [layer_norm(x), rms_norm(x), layer_norm(x.T).T]
    yield [rms_norm(x / 1000)[0], rms_norm(x / 1000, 1e-12)[0]]


def cancellation():
    for name, f in ("float32", np.float32), ("float64", np.float64):
        b = f(10000)
        root = np.sqrt(b * b - f(4))
        yield [name + ":", (b - root) / f(2), f(2) / (b + root)]


def summation_order():
    large = np.float32(16777216)
    yield [large + np.float32(1) == large, large + np.float32(2) == large]
    running = large
    for _ in range(8):
        running = np.float32(running + np.float32(1))
    yield [int(running), int(large + np.float32(8))]
    tenths = np.full(10, 0.1, np.float32)
    yield [bool(tenths.astype(np.float64).sum() == 1), True]


def infinities():
    x = arr(1, -1, 0, 2)
    with np.errstate(all="ignore"):
        yield [x / 0, np.log(x), np.sqrt(x)]
    yield [np.nan, np.nan, True, [0, 0, 0, np.log(2)], -np.inf, np.nan, list(softmax([1, -1])) + [0, 0]]


def int8_quantisation():
    w = arr(0.12, -0.5, 0.33, 1.27, -1.0, 0.0, 0.9, -0.051)
    scale = abs(w).max() / 127
    q = np.round(w / scale)
    yield [scale, "int8[8]", q, q * scale]
    yield ["the largest error is below half a step:", bool(abs(q * scale - w).max() <= scale / 2)]
