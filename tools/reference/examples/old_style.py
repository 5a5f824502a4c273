"""examples/old_style in Python and NumPy."""

import numpy as np

from common import arr, layer_norm, positional_encoding as sinusoids, softmax


def declarations():
    yield ["=" * 80, [[2, 4, 6], [8, 10, 12]], [3, 2], 12, "n = 6", np.zeros((2, 2)), "=" * 80]


def method_chains():
    x = arr([1, -2, 3], [-4, 5, -6])
    y = abs(x).reshape(3, 2).T
    yield [np.maximum(x, 0).sum(), x.T.shape, y]
    yield [softmax(x @ y.T, 1).argmax(1), "total", 3]


def imports():
    hidden = np.maximum(arr([1, -1]) @ arr([1, 0, 2], [0, 1, 1]), 0)
    yield [hidden @ arr([1, 0], [0, 1], [1, 1]), [1, 0]]


def circular_import():
    yield "modules/egg.tl:2:1: error: files import one another in a circle"
    yield '2 | import "chicken.tl"'
    yield "| ^^^^^^^^^^^^^^^^^^^"
    yield "help: modules/chicken.tl imports modules/egg.tl imports modules/chicken.tl"


def print_mixed():
    yield 'text 1 2 2.5 true [1, "a"] {k: 1} [0.5, 2]'
    yield "loss: 0.25 after 100 steps"
    yield "1 and the rest 2"
    yield [0.5, 2.5, [2], [False, True]]
    yield [1e-7, 1e16, 123456.789, 0.1, -0.0, 1 / 3]
    yield "a b line one line two"
    yield [1, 0, 1, 2, 3, "0, 1, 2, ..., 1997, 1998, 1999"]


def masks():
    s, causal, first = arr([1, 2, 3], [1, 1, 1], [3, 2, 1]), np.tri(3, dtype=bool), np.array([True, True, False])
    both = causal & first
    hide = lambda m, v=-np.inf: np.where(m, s, v)
    yield [causal, both, hide(causal), softmax(hide(causal)), softmax(hide(both)), hide(both, 9)]


def normalisation():
    x, gamma, beta = arr([1, 2, 3], [3, 6, 9]), arr(1, 2, 1), arr(0, 0, 10)
    yield gamma * (x - [2, 4, 6]) / [1, 2, 3] + beta
    yield layer_norm(x, 0) * gamma + beta
    yield gamma * x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-6)


def positional_encoding():
    yield sinusoids(4, 6)


def shapes():
    x = np.arange(6.0).reshape(2, 3)
    yield [x[:, :1], x[:, 1:], np.array_split(np.arange(5), [3])]
    yield [x[None].shape, x[..., None].shape, [3], [3, 1]]
    yield [x, x.T, [4, 2, 3], [2, 12]]
    yield [np.pad([1, 2], 1), [3, 2, 1], np.repeat([1, 2], 2), np.tile([1, 2], (2, 1)), x[:, 0:3:2]]


def gather_scatter():
    x = arr([10, 20, 30], [60, 50, 40])
    take = lambda i, axis: np.take_along_axis(x, np.array(i), axis)
    yield [x.argmax(0), x.argmax(1), x.argmin(1), take([[2, 0], [1, 1]], 1), take([[1, 0, 1]], 0)]
    y = np.zeros((2, 3))
    np.put_along_axis(y, np.array([[2], [0]]), [[7], [8]], 1)
    yield [y, np.sort(x, 1)]


def sampling():
    p = softmax(arr(1, 4, 2, 3))
    keep = np.isin(np.arange(4), [1, 3])      # 4 and 3 of the best three reach 0.9 of their sum
    yield [1, 1, [0, 1], np.where(keep, p, 0) / p[keep].sum(), [4, 3], [1, 3]]
    yield "the same seed, the same id: true among the two likeliest: true"
