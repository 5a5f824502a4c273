"""examples/learning in NumPy."""

import numpy as np

from common import arr, relu, sig, softmax


def linear_regression():
    x, y = arr(1, 2, 3, 4, 5), arr(2.2, 4.1, 6.0, 8.3, 9.9)
    slope, intercept = np.polyfit(x, y, 1)
    yield [f"y = {slope:.3g} x + {intercept:.3g}", slope * x + intercept, "R² =", np.corrcoef(x, y)[0, 1] ** 2]


def gradient_descent():
    x = arr([0, 0], [0, 1], [1, 0], [1, 1], [2, 1], [1, 2], [2, 2], [-1, 1])
    y, w = x @ [2, -3] + 1, np.zeros(3)
    x = np.c_[x, np.ones(8)]
    for step in range(400):
        error = x @ w - y
        if step % 50 == 0 and step < 200:
            yield ["step", step, "loss", round((error**2).mean(), 4)]
        w = w - 0.1 * 2 * (error @ x) / 8
    yield w


def logistic_regression():
    hours, passed = arr(0.5, 1, 1.5, 2, 3, 3.5, 4, 4.5), arr(0, 0, 0, 1, 0, 1, 1, 1)
    x, w = np.c_[np.ones(8), hours], np.zeros(2)
    for _ in range(5000):
        w = w - 0.05 * (sig(x @ w) - passed) @ x
    p = sig(x @ w)
    yield [np.round(w, 2), p, "loss", -np.log(np.where(passed == 1, p, 1 - p)).mean()]


def softmax_regression():
    x, w = arr([2, 0], [0, 2], [1, 1], [-1, 0]), arr([1, -1], [-1, 1], [0.5, 0.5])
    p = softmax(x @ w.T + [0.1, 0, -0.2])
    label = [0, 1, 2, 0]
    yield [p, "classes", p.argmax(1), "accuracy", (p.argmax(1) == label).mean()]
    yield ["cross-entropy", -np.log(p[range(4), label]).mean()]


def two_layer_net():
    x, y = arr([0, 0], [0, 1], [1, 0], [1, 1]), arr(0, 1, 1, 0)
    w1, b1, w2 = arr([1, -1], [-1, 1], [0.5, 0.5]), arr(0, 0, -0.5), arr(0.5, 0.5, -0.5)
    def loss(w1, b1, w2):
        p = sig(np.tanh(x @ w1.T + b1) @ w2)
        return -np.log(np.where(y == 1, p, 1 - p)).mean(), p
    def slope(i, parameters, e=1e-6):  # by differences, not by the chain rule
        g = np.zeros_like(parameters[i])
        for at in np.ndindex(g.shape):
            values = []
            for sign in (1, -1):
                moved = [p.copy() for p in parameters]
                moved[i][at] += sign * e
                values.append(loss(*moved)[0])
            g[at] = (values[0] - values[1]) / (2 * e)
        return g
    parameters = [w1, b1, w2]
    for step in range(500):
        if step % 100 == 0:
            yield f"step {step}: loss {round(loss(*parameters)[0], 3)}"
        dw2 = slope(2, parameters)
        moved = [parameters[0], parameters[1], parameters[2]]
        dw1, db1 = slope(0, moved), slope(1, moved)
        parameters = [w1 := parameters[0] - 0.5 * dw1, parameters[1] - 0.5 * db1, parameters[2] - 0.5 * dw2]
    yield loss(*parameters)[1] > 0.5


def naive_bayes():
    mail, spam = arr([3, 2, 0, 0], [2, 1, 0, 1], [0, 0, 2, 3], [0, 1, 1, 2], [0, 0, 3, 1]), np.array([1, 1, 0, 0, 0])
    likely = np.stack([(mail[spam == c].sum(0) + 1) / (mail[spam == c].sum() + 4) for c in (0, 1)])
    posterior = np.stack([np.prod(likely**n, 1) * [0.6, 0.4] for n in arr([1, 1, 0, 0], [0, 0, 1, 1])])
    yield posterior / posterior.sum(1, keepdims=True)
    yield "the word that tells most for spam: " + ["money", "win", "meeting", "report"][(likely[1] / likely[0]).argmax()]


def principal_component():
    x = arr([2, 1.9], [1, 1.1], [3, 3.2], [4, 3.8], [5, 5])
    cov = np.cov(x.T)
    values, vectors = np.linalg.eigh(cov)
    v = abs(vectors[:, 1])
    yield [cov, v, (x - x.mean(0)) @ v, "explained:", values[1] / values.sum()]


def graph_network():
    a = np.eye(6)
    for i, j in [(0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (3, 5), (4, 5)]:
        a[i, j] = a[j, i] = 1
    root = np.diag(a.sum(1) ** -0.5)
    a = root @ a @ root
    x = np.zeros((6, 2))
    x[0, 0] = x[5, 1] = 1
    hidden = relu(a @ x @ arr([2, -1], [-1, 2]).T)
    p = softmax(a @ hidden @ arr([3, -3], [-3, 3]).T)
    yield [hidden, p, "clubs", p.argmax(1)]


def message_passing():
    near, x = {0: [1], 1: [0, 2, 3], 2: [1], 3: [1]}, arr([1, 0], [2, 2], [5, 1], [-3, 4])
    for f in (np.sum, np.mean, np.max):
        yield [f(x[near[i]], axis=0) for i in range(4)]
    yield True


def lora():
    w = arr([1, 0, 0, 1], [0, 1, 1, 0], [1, 1, 0, 0])
    merged = w + 8 / 2 * arr([1, 0], [0, 1], [0.5, -0.5]) @ arr([0.1, 0, 0.2, 0], [0, 0.3, 0, 0.1])
    y = arr([1, 2, 3, 4], [4, 3, 2, 1]) @ merged.T
    yield [y, y, f"for 4096 × 4096 at rank 16: {16 * 8192} weights to train instead of {4096**2}"]


def knowledge_graph():
    e, r = arr([0, 0], [1, 2.1], [5, 0], [6.2, 2]), arr(1, 2)
    s = np.stack([-np.linalg.norm(e[h] + r - e, axis=1) for h in (0, 2)])
    yield [s, [1, 1], "MRR", 1, "hits@1", 1, "Paris Tokyo"]
    c = lambda v: complex(*v)
    yield [np.sum(arr(1, 2) * arr(0.5, 1) * arr(2, 1)), (c([1, 0]) * c([0, 1]) * c([0, 1]).conjugate()).real]
    yield ["margin loss", np.maximum(0, 1 - s[:, 1] + s[:, 3]).mean()]


def hopfield():
    p = arr([1, 1, 1, 1, -1, -1, -1, -1], [1, -1, 1, -1, 1, -1, 1, -1])
    w = p.T @ p * (1 - np.eye(8))
    s = arr(1, -1, 1, 1, -1, -1, -1, 1)
    for _ in range(3):
        h = w @ s
        yield h
        s = np.where(h == 0, s, np.sign(h))
    yield [s, "restored:", bool((s == p[0]).all())]


def lstm():
    w = arr([[1, 0], [0, 1]], [[0.5, 0], [0, 0.5]], [[1, 1], [0, 1]], [[1, -1], [1, 1]])
    b = arr([0, 0], [1, 1], [0, 0], [0, 0])
    h, c = np.zeros(2), np.zeros(2)
    for x in arr([1, 0], [0, 1], [1, 1]):
        write, keep, read, new = (w[g] @ x + 0.1 * h.sum() + b[g] for g in range(4))
        c = sig(keep) * c + sig(write) * np.tanh(new)
        h = sig(read) * np.tanh(c)
        yield [h, c]
