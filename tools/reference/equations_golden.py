#!/usr/bin/env python3
"""Writes tests/lang/equations_numpy.tl: tensor equations beside what NumPy says they mean.

    python3 tools/reference/equations_golden.py

Each case is an equation in the language and an independent NumPy expression; the numbers of the latter go into the test.
"""

import pathlib

import numpy as np

rng = np.random.default_rng(7)


def values(*shape):
    return np.round(rng.normal(size=shape) * 2, 3)


W, X, V, U = values(3, 4), values(4), values(3, 4), values(4)
A, B, C = values(3, 4), values(4), values(4, 2)
M, N = values(3, 5), values(4, 5)
q, k, v = values(3, 4, 2), values(5, 2, 2), values(5, 2, 2)
image, kernel = values(6, 7), values(2, 3)
x, w = values(3, 6), values(6)
S = values(2, 3, 3)
z = v[:3]

tensors = dict(W=W, X=X, V=V, U=U, A=A, B=B, C=C, M=M, N=N, q=q, k=k, v=v, image=image, kernel=kernel, x=x, w=w, S=S, z=z)
relu = lambda t: np.maximum(t, 0)
sig = lambda t: 1 / (1 + np.exp(-t))


def softmax(t, axis):
    e = np.exp(t - t.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def convolution():
    out = np.zeros((6, 7))
    for i in range(6):
        for j in range(7):
            for a in range(2):
                for b in range(3):
                    if i + a < 6 and j + b < 7:
                        out[i, j] += image[i + a, j + b] * kernel[a, b]
    return out


def causal(t, pos):
    i, j = np.indices(t.shape[-2:])
    return softmax(np.where(j <= i + pos, t, -np.inf), -1)


group = 2
kg, vg = np.repeat(k, group, 1), np.repeat(v, group, 1)
scores = np.einsum("ihd,jhd->hij", q, kg) / np.sqrt(2)
lower = np.tril(np.ones((3, 3)))
shifted = np.vstack([np.zeros((1, 6)), x[:-1]])

CASES = [
    ("Y[i] = W[i, j] * X[j]", W @ X),
    ("Y[i] = W[i, j] X[j]", W @ X),
    ("Y[i] = 2 * W[i, j] X[j] - 1", 2 * W @ X - 1),
    ("Y[j, i] = W[i, j]", W.T),
    ("Y[i] = W[i, j]", W.sum(1)),
    ("Y[i] = A[i, j] + W[i, 0]", A.sum(1) + W[:, 0]),
    ("Y[i, k] = A[i, j] * (B[j] + C[j, k])", A @ (B[:, None] + C)),
    ("Y[i] = A[i, j] * (B[j] + C[j, k])", A @ (B + C.sum(1))),
    ("Y[i] = relu(W[i, j] X[j])", relu(W @ X)),
    ("Y[i] = sig(W[i, j] X[j] + V[i, j] U[j])", sig(W @ X + V @ U)),
    ("Y[i, k] = (M[i, j] N[k, j])^3", (M @ N.T) ** 3),
    ("Y[i, k] = (M[i, j] N[k, j] + 1)^2", (M @ N.T + 1) ** 2),
    ("Y[i, k] = exp(-(M[i, j] - N[k, j])^2 / 20)", np.exp(-((M[:, None] - N[None]) ** 2).sum(-1) / 20)),
    ("Y[i] = (X[j] - U[j])^2 * W[i, j]", W @ (X - U) ** 2),
    ("Loss[i] = W[i, j]^2", (W**2).sum(1)),
    ("Y[i, d] = x[i, d] * w[d] / sqrt(x[i, e]^2 / 6 + 1e-5)", x * w / np.sqrt((x**2).mean(1, keepdims=True) + 1e-5)),
    ("Y[i] = max[j](W[i, j])", W.max(1)),
    ("Y[i] = sum[j](exp(W[i, j]))", np.exp(W).sum(1)),
    ("Y[i] = log(sum[j](exp(W[i, j])))", np.log(np.exp(W).sum(1))),
    ("Y[i] = avg[j](W[i, j] * X[j])", (W * X).mean(1)),
    ("Y[i] = prod[j](W[i, j])", W.prod(1)),
    ("Y[i] max= W[i, j]", W.max(1)),
    ("Y[i] min= W[i, j] + V[i, j]", (W + V).min(1)),
    ("Y[i] avg= W[i, j]", W.mean(1)),
    ("Y[i] avg= W[i, j] where j <= i", np.array([W[i, : i + 1].mean() for i in range(3)])),
    ("Y[i, j.] = softmax(W[i, j])", softmax(W, 1)),
    ("Y[i., j] = softmax(W[i, j])", softmax(W, 0)),
    ("Y[h, i, j.] = softmax(S[h, i, j]) where j <= i", causal(S, 0)),
    ("Y[h, i, j.] = softmax(q[i, h, d] * k[j, h / 2, d] / 1.4142135623730951) where j <= i + 2", causal(scores, 2)),
    ("Y[i, h, d] = S[0, i, j] * z[j, h / 2, d] where h in 0..4", np.einsum("ij,jhd->ihd", S[0], vg[:3])),
    ("Y[i, j] = S[1, i, j] where j <= i", S[1] * lower),
    ("Y[i] = S[1, i, j] where j < i", (S[1] * np.tril(np.ones((3, 3)), -1)).sum(1)),
    ("Y[i] max= S[0, i, j] where j <= i", np.where(lower > 0, S[0], -np.inf).max(1)),
    ("Y[a, b] = image[a + da, b + db] * kernel[da, db]", convolution()),
    ("Y[t, d] = x[t - 1, d]", shifted),
    ("Y[i] = w[2 * i]", w[::2]),
    ("Y[i, j] = X[j] where i in 0..2", np.stack([X, X])),
    ("Y[i] = W[(1), i] + W[-1 + 1, i]", W[1] + W[0]),
    ("Y[i] = X[i] / (W[j, i] * W[j, i])", X / (W**2).sum(0)),
    ("Y[i, j] = M[i, a] * N[j, a] / 3", M @ N.T / 3),
    ("Y[i, l] = M[i, a] * N[j, a] * C[j, l]", M @ N.T @ C),
    ("Y[i] = -W[i, j] * X[j]", -(W @ X)),
    ("Y[i] = tanh(W[i, j] X[j]) * W[i, 1]", np.tanh(W @ X) * W[:, 1]),
]


def literal(array):
    if array.ndim == 0:
        return f"{float(array)!r}"
    return "[" + ", ".join(literal(item) for item in array) + "]"


def main():
    lines = ["// Made by tools/reference/equations_golden.py: each equation beside what NumPy says it means.", "", "main {"]
    for name, array in tensors.items():
        lines.append(f"    tensor {name}: float32[{', '.join(map(str, array.shape))}] = {literal(array)}")
    for equation, expected in CASES:
        target = equation.split("[")[0]
        lines += ["    {", f"        {equation}", f"        assert_close({target}, {literal(np.asarray(expected))}, 1e-4, 1e-5)", "    }"]
    lines += ['    print("all equal")', "    // expect: all equal", "}", ""]
    path = pathlib.Path(__file__).resolve().parents[2] / "tests/lang/equations_numpy.tl"
    path.write_text("\n".join(lines))
    print(f"{path}: {len(CASES)} equations")


if __name__ == "__main__":
    main()
