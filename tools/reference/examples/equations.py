"""examples/equations in NumPy."""

import numpy as np

from common import arr, layer_norm, masked_softmax, randn, relu, softmax


def summation():
    a, b, x = arr([1, 2, 3], [4, 5, 6]), arr([1, 0], [0, 1], [2, 2]), arr(1, 0, -1)
    yield [a @ b, a @ x, a.sum(1), a.sum(), np.trace(a @ b), a.T, np.outer(a[:, 0], x)]


def where_sums_happen():
    w, x, b = arr([1, 2], [-3, 1]), arr(2, 1), arr(10, 20)
    yield [w.sum(1) + b, relu(w @ x), relu(w * x).sum(1), w @ (x + b)]


def powers():
    p = arr([0, 0], [3, 4], [1, 1])
    distance = ((p[:, None] - p) ** 2).sum(-1)
    yield [(p * p).sum(1), np.sqrt(distance), (p @ p.T + 1) ** 2, np.exp(-distance / 2)]


def projections():
    x = arr([3, -1, 4, 1], [5, 9, -2, 6])
    yield [x.max(1), x.min(0), x.mean(1), (x.max(1) - x.min(1)).max(), x[:, 0] + x.sum(1)]


def explicit_reductions():
    x = arr([1, 2, 3], [0, 0, 1])
    yield [np.log(np.exp(x).sum(1)), np.ptp(x, 1), (x + 1).prod(1), x.var(1)]
    yield [x - x.mean(1, keepdims=True), x / x.sum(1, keepdims=True)]


def normalised_indices():
    s = arr([0, 1, 2], [2, 1, 0], [1, 1, 1])
    yield [softmax(s), softmax(s, 0), masked_softmax(s, np.tri(3, dtype=bool)), masked_softmax(s, ~np.eye(3, dtype=bool))]
    yield layer_norm(s + np.arange(3)[:, None])


def domains():
    x = np.arange(1, 10).reshape(3, 3).astype(float)
    yield [np.tril(x), np.trace(x), np.triu(x, 1).sum(1), [x[0].max(), x[1, 0], x[2, :2].max()]]
    yield [np.outer([1, 2, 3], [1, 2, 3, 4]), np.triu(np.tril(x, 1), -1)]


def offsets():
    x = arr(1, 4, 9, 16, 25, 36)
    p = np.concatenate([[0, 0], x, [0, 0]])
    at = lambda k: p[2 + k : 8 + k]
    second = at(1) - 2 * x + at(-1)
    second[[0, 5]] = 0
    yield [x - at(-1), (at(-1) + x + at(1)) / 3, at(-2), second, x[::-1], x[::2]]


def convolution():
    image = arr(*[[0, 0, 0, 9, 9, 9]] * 3, *[[0, 0, 9, 9, 9, 9]] * 2)
    sobel = arr([-1, 0, 1], [-2, 0, 2], [-1, 0, 1])
    yield np.einsum("yxab,ab->yx", np.lib.stride_tricks.sliding_window_view(image, (3, 3)), sobel)


def pooling():
    x = np.arange(16.0).reshape(4, 4)
    blocks = x.reshape(2, 2, 2, 2)
    mean = blocks.mean((1, 3))
    yield [blocks.sum((1, 3)), blocks.max((1, 3)), mean, mean.repeat(2, 0).repeat(2, 1), x[::2, ::2]]


def grouped_heads():
    q = arr([1, 0], [0, 1], [1, 1], [2, 0])
    k = arr([[1, 2], [3, 4]], [[5, 6], [7, 8]], [[1, 1], [-1, 0]])
    yield np.einsum("hd,jhd->hj", q, k.repeat(2, 1))


def recurrence():
    yield 100 * 1.5 ** np.arange(6)
    fib = [0, 1]
    while len(fib) < 12:
        fib.append(fib[-1] + fib[-2])
    yield fib
    turn = arr([0, -0.5], [0.5, 0])
    yield [np.linalg.matrix_power(turn, t) @ [1, 1] for t in range(4)]


def backwards():
    r = [0, 0, 1, 0, 10]
    yield [sum(0.5 ** (u - t) * r[u] for u in range(t, 5)) for t in range(5)]


def last_state():
    average = 10.0
    for x in [10, 10, 10, 20, 20, 20]:
        average = 0.5 * average + 0.5 * x
    yield average
    door = arr([0.5, 0.5, 0], [0.25, 0.5, 0.25], [0, 0.5, 0.5])
    yield arr(1, 0, 0) @ np.linalg.matrix_power(door, 50)


def pieces():
    words = arr([1, 2], [3, 4], [5, 6])
    yield [np.vstack([[9, 9], words]), np.pad(arr([1, 2, 3], [4, 5, 6]), 1, constant_values=-1)]
    yield np.stack([words[:, 0], words.prod(1)], 1).reshape(-1)


def several_equations():
    hidden = (arr([1, 2], [3, 4]) + 10 * np.eye(2)) @ [1, 1] + [0.5, -0.5]
    yield [hidden, 2 * hidden]


def polynomials():
    product = np.polynomial.Polynomial([1, 2, 3]) * np.polynomial.Polynomial([-1, 1])
    yield [product.coef, product.deriv().coef, product(2)]


def einsum():
    yield [[2, 4, 5], True, True]
    yield [np.einsum("ii", arr([1, 2], [3, 4])), [4, 6], np.outer([1, 2], [3, 4])]


def index_values():
    yield [[[10 * i + j for j in range(3)] for i in range(2)], np.eye(4)[[2, 0, 1]]]
    yield [np.indices((3, 3)).sum(0) % 2, [[p / 100 ** (f / 2) for f in range(2)] for p in range(3)]]


def state_space():
    a, state, states = arr([0.5, 0.5], [0, 0.5]), arr(0, 0), [arr(0, 0)]
    for u in [1, 0, 0, 0, 0]:
        state = a @ state + arr(0, 1) * u
        states.append(state)
    yield [states, [s[0] for s in states]]
