#!/usr/bin/env python3
"""Writes tests/lang/equations_numpy.tl and declarations_numpy.tl: tensor equations beside what NumPy says they mean.

    python3 tools/reference/equations_golden.py

Each case is an equation in the language (or several, one a line, the last of which names the tensor to look at) and an
independent NumPy expression; the numbers of the latter go into the test. Those of the second file stand at top level,
where equations are declarations.
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


def blocks(t, height, width, combine):
    """Pooling by blocks of height x width; those at the border may be smaller."""
    rows, columns = -(-t.shape[0] // height), -(-t.shape[1] // width)
    return np.array(
        [
            [combine(t[i * height : (i + 1) * height, j * width : (j + 1) * width]) for j in range(columns)]
            for i in range(rows)
        ]
    )


def recurrent(start, step, n):
    """start and the n steps that follow it, along the last axis."""
    states = [start]
    for t in range(n):
        states.append(step(states[-1], t))
    return np.stack(states, -1)


def lnorm(t):
    return (t - t.mean(-1, keepdims=True)) / np.sqrt(t.var(-1, keepdims=True) + 1e-5)


def shifted_rows(t, by):
    """t[i + by], 0 outside."""
    out = np.zeros_like(t)
    for i in range(len(t)):
        if 0 <= i + by < len(t):
            out[i] = t[i + by]
    return out


R, E = values(4, 4) / 4, values(4, 5)
rnn = recurrent(np.zeros(4), lambda h, t: sig(R @ h + E[:, t]), 5)
primed = recurrent(X, lambda h, t: sig(R @ h + E[:, t]), 5)
fibonacci = np.array([0, 1, 1, 2, 3, 5, 8, 13])
tensors |= dict(R=R, E=E)

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
    # where sums happen
    ("Loss = (X[e] - U[e])^2", ((X - U) ** 2).sum()),
    ("Y[i, k] = W[i, j]^2 * C[j, k]", W**2 @ C),
    ("Y[i] = W[i, j]^2 * X[j] / 2", W**2 @ X / 2),
    ("Y[i] = W[i, j] X[j] - V[i, j]", W @ X - V.sum(1)),
    ("Y[i] = (W[i, j] X[j]) (V[i, k] U[k])", (W @ X) * (V @ U)),
    ("Y[i] = W[i, j] X[j] / (1 + V[i, k]^2)", W @ X / (1 + (V**2).sum(1))),
    ("Y[i, k] = exp(-(M[i, j] - N[k, j])^2 / 20) where k < 3", np.exp(-((M[:, None] - N[None]) ** 2).sum(-1) / 20) * (np.arange(4) < 3)),
    ("Y[i] = max(W[i, j] X[j], 0.5)", np.maximum(W @ X, 0.5)),
    ("Y[i] = step(W[i, j] X[j])", (W @ X > 0).astype(float)),
    ("Y[i, j] = i + 10 * j + 0 * W[i, j]", np.add.outer(np.arange(3), 10.0 * np.arange(4))),
    # projections and explicit reductions
    ("Y[i] += W[i, j]", W.sum(1)),
    ("Y[i] = X[0] where i in 0..3\nY[i] += W[i, j] X[j]", W @ X + X[0]),
    ("Y[k] max= M[i, j] where k in 0..2", np.full(2, M.max())),
    ("Y[j] min= W[i, j] X[j]", (W * X).min(0)),
    ("Y[j] avg= W[i, j] where i >= j", np.array([W[j:, j].mean() for j in range(3)] + [np.nan])[:3], "Y[0:3]"),
    ("Y = max[i, j](W[i, j])", W.max()),
    ("Y[i] = W[i, j] X[j] - min[j](W[i, j]) + avg[j](V[i, j])", W @ X - W.min(1) + V.mean(1)),
    ("Y[i] = sum[j, k](relu(W[i, j] * C[j, k]))", relu(W[:, :, None] * C).sum((1, 2))),
    # normalised indices
    ("Y[i, j.] = log_softmax(W[i, j])", np.log(softmax(W, 1))),
    ("Y[i, d.] = lnorm(x[i, d])", lnorm(x)),
    ("Y[i, d.] = lnorm(x[i, d] + w[d])", lnorm(x + w)),
    ("Y[i, d.] = rms_norm(x[i, d])", x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-5)),
    # offsets and arithmetic on the right
    ("Y[t] = X[t] - X[t - 1]", np.diff(X, prepend=0)),
    ("Y[i, d] = x[i + 1, d] where i in 0..3", shifted_rows(x, 1)),
    ("Y[t] = w[t + dt] * B[dt]", np.array([sum(w[t + d] * B[d] for d in range(4) if t + d < 6) for t in range(6)])),
    ("Y[t] = w[t + dt] * B[dt] where t in 0..3", np.array([w[t : t + 4] @ B for t in range(3)])),
    ("Y[t] = w[2 * t + dt] * B[dt]", np.array([sum(w[2 * t + d] * B[d] for d in range(4) if 2 * t + d < 6) for t in range(3)])),
    ("Y[t] = w[5 - t]", w[::-1]),
    ("Y[i, d] = x[i, d / 2] where d in 0..12", np.repeat(x, 2, 1)),
    ("let r = 1\nY[d] = x[(r), d] + x[(r + 1), d]", x[1] + x[2]),
    # the domain
    ("Y[i] = 3 where i in 0..4", np.full(4, 3.0)),
    ("Y[i] = X[i] where i in 1..4", np.array([0, X[1], X[2], X[3]])),
    ("Y[i, j] = W[i, j] where i != j and W[i, j] > 0", np.where((np.eye(3, 4) == 0) & (W > 0), W, 0)),
    ("Y[i] = W[i, j] X[j] where j > i, X[j] > 0", np.where((np.arange(4) > np.arange(3)[:, None]) & (X > 0), W * X, 0).sum(1)),
    ("Y[i, j.] = softmax(W[i, j]) where W[i, j] > -1", softmax(np.where(W > -1, W, -np.inf), 1)),
    # division on the left
    ("Y[a / 2, b / 3] = image[a, b]", blocks(image, 2, 3, np.sum)),
    ("Y[a / 2, b / 3] += image[a, b]", blocks(image, 2, 3, np.sum)),
    ("Y[a / 2, b / 3] max= image[a, b]", blocks(image, 2, 3, np.max)),
    ("Y[a / 2, b / 3] min= image[a, b]", blocks(image, 2, 3, np.min)),
    ("Y[a / 2, b / 3] avg= image[a, b]", blocks(image, 2, 3, np.mean)),
    ("Y[a / 4, b] avg= relu(image[a, b] + 1)", blocks(relu(image + 1), 4, 1, np.mean)),
    ("Y[a / 6, b / 7] = image[a, b]^2", np.array([[(image**2).sum()]])),
    ("Y[g, b] = image[a, b] * w[a] where g in 0..2", np.stack([w @ image] * 2)),
    ("Y[a / 2, c] = image[a, b] image[c, b]", (image @ image.T).reshape(3, 2, 6).sum(1)),
    ("Y[a / 2] max= image[a, b] where b < 3", image[:, :3].reshape(3, 6).max(1)),
    ("Y[a / 4] = 1 where a in 0..6", np.array([4.0, 2.0])),
    # sums of index names on the left
    ("Y[i + j] = X[i] B[j]", np.convolve(X, B)),
    ("Y[i + j + 1] = X[i] B[j]", np.concatenate([[0], np.convolve(X, B)])),
    ("Y[4 * i + j] = W[i, j]", W.reshape(-1)),
    ("Y[i + j] max= X[i] + B[j]", np.array([max(X[i] + B[s - i] for i in range(4) if 0 <= s - i < 4) for s in range(7)])),
    # a tensor filled piece by piece
    ("Y[i, 0] = X[i]\nY[i, 1] = B[i]", np.stack([X, B], 1)),
    ("Y[i, 2] = X[i]", np.stack([0 * X, 0 * X, X], 1)),
    ("Y[0, 1] = 5", np.array([[0, 5.0]])),
    ("let n = 2\nY[i, (n - 1)] = X[i]\nY[i, 0] = 1\nY[i, 0] += X[i]", np.stack([X + 1, X], 1)),
    ("Y[t + 2] = X[t]", np.concatenate([[0, 0], X])),
    ("Y[t - 1] = X[t]", X[1:]),
    ("Y[i, d + 3] = W[i, d]\nY[i, d + 1] = M[i, d]", np.hstack([np.zeros((3, 1)), M, W[:, 3:]])),
    ("let Y = zeros([3, 4])\nY[1, d] = X[d]\nY[i, 0] += 2", np.vstack([0 * X, X, 0 * X]) + np.array([2, 0, 0, 0])),
    ("let Y = zeros([2, 6])\nY[1, t + 1] = X[t]", np.vstack([np.zeros(6), np.concatenate([[0], X, [0]])])),
    ("let Y = ones([4])\nY[i] = X[i] + Y[i]", X + 1),
    # recurrences
    ("Y[i, t + 1] = sig(R[i, j] Y[j, t] + E[i, t])", rnn),
    ("Y[i, 0] = X[i]\nY[i, t + 1] = sig(R[i, j] Y[j, t] + E[i, t])", primed),
    ("Y[i] = X[i]\nY[i, *t + 1] = sig(R[i, j] Y[j, *t] + E[i, t])", primed[:, -1]),
    ("Y[i, 0] = X[i]\nY[i, *t + 1] = sig(R[i, j] Y[j, t] + E[i, t])", primed[:, -1]),
    ("Y[i, *t + 1] = sig(R[i, j] Y[j, *t] + E[i, t])", rnn[:, -1]),
    ("Y[i, *t] = E[i, t] * 2", 2 * E[:, -1]),
    ("Y[0] = 0\nY[1] = 1\nY[t + 2] = Y[t + 1] + Y[t] where t in 0..6", fibonacci),
    ("Y[t + 1] = Y[t] + t where t in 0..5", np.array([0, 0, 1, 3, 6, 10])),
    ("let Y = zeros([5])\nY[0] = 1\nY[t + 1] = 2 * Y[t]", 2.0 ** np.arange(5)),
    ("let Y = zeros([4])\nY[t - 1] = X[t] + 0.5 * Y[t]", np.array([X[1] + X[2] / 2 + X[3] / 4, X[2] + X[3] / 2, X[3], 0.0])),
    ("Y[0, d] = X[d]\nY[l + 1, d] = Y[l, d] + W[l, e] Y[l, e] * Y[0, d]", None),
]

residual = [X]
for l in range(3):
    residual.append(residual[-1] + (W[l] @ residual[-1]) * X)
CASES[-1] = (CASES[-1][0], np.stack(residual))

# Beside each tensor that is defined at top level, its value; the equations stand in an order that must not matter.
DECLARATIONS = """
P[i] = W[i, j] X[j]
P[i] = V[i, j] U[j]
Late[i] = relu(Early[i])
Early[i] = W[i, j] X[j]
Total[i, 0] = P[i]
Total[i, 1] = Early[i]
Total[i, 1] += 1
Loss = (X[e] - U[e])^2
H[i, t + 1] = sig(R[i, j] H[j, t] + E[i, t])
H[i, 0] = X[i]
Last[i, *t + 1] = sig(R[i, j] Last[j, *t] + E[i, t])
Sum[t] = Sum[t - 1] + w[t]
Back[t] = w[t] + 0.5 * Back[t + 1]
Stream[0, p, d] = Input[p, d]
Key[l, p, d] = Stream[l, p, e] A3[l, e, d]
Stream[l + 1, p, d] = tanh(Key[l, p, d] + Stream[l, p, d])
Input[p, d] = C[p, d]
Best[i] max= W[i, j]
"""
A3 = values(3, 2, 2)
tensors |= dict(A3=A3)
stream, keys = [C], []
for l in range(3):
    keys.append(stream[-1] @ A3[l])
    stream.append(np.tanh(keys[-1] + stream[-1]))
back = np.zeros(7)
for t in reversed(range(6)):
    back[t] = w[t] + 0.5 * back[t + 1]
DECLARED = dict(
    P=W @ X + V @ U, Late=relu(W @ X), Total=np.stack([W @ X + V @ U, W @ X + 1], 1), Loss=((X - U) ** 2).sum(), H=primed,
    Last=rnn[:, -1], Sum=np.cumsum(w), Back=back[:6], Stream=np.stack(stream), Key=np.stack(keys), Best=W.max(1),
)


def literal(array):
    if array.ndim == 0:
        return f"{float(array)!r}"
    return "[" + ", ".join(literal(item) for item in array) + "]"


def declaration(name, indent=""):
    array = tensors[name]
    return f"{indent}tensor {name}: float32[{', '.join(map(str, array.shape))}] = {literal(array)}"


def close_to(target, expected):
    return f"assert_close({target}, {literal(np.asarray(expected, float))}, 1e-4, 1e-5)"


def write(name, lines):
    head = "// Made by tools/reference/equations_golden.py: each equation beside what NumPy says it means."
    path = pathlib.Path(__file__).resolve().parents[2] / "tests/lang" / name
    path.write_text("\n".join([head, ""] + lines + ['    print("all equal")', "    // expect: all equal", "}", ""]))
    print(path)


def main():
    lines = ["main {"] + [declaration(name, "    ") for name in tensors if name != "A3"]
    for equations, expected, *target in CASES:
        equations = equations.split("\n")
        name = target[0] if target else equations[-1].split("[")[0].split(" ")[0]
        lines += ["    {"] + [f"        {line}" for line in equations] + [f"        {close_to(name, expected)}", "    }"]
    write("equations_numpy.tl", lines)
    used = [name for name in tensors if name in "W X V U C R E w A3".split()]
    lines = DECLARATIONS.strip().split("\n") + [declaration(name) for name in used] + ["", "main {"]
    write("declarations_numpy.tl", lines + [f"    {close_to(name, value)}" for name, value in DECLARED.items()])


if __name__ == "__main__":
    main()
