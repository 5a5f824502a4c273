"""examples/algorithms in Python and NumPy, by other methods where there are any."""

import itertools

import numpy as np

from common import arr, rand


def life(board):
    n = sum(np.roll(np.pad(board, 1), (a, b), (0, 1))[1:-1, 1:-1] for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b)
    return ((n == 3) | ((board == 1) & (n == 2))).astype(int)


def game_of_life():
    board = np.zeros((6, 6), int)
    board[:3, :3] = [[0, 1, 0], [0, 0, 1], [1, 1, 1]]
    show = lambda: "\n".join("".join(".#"[c] for c in row) for row in board)
    yield show()
    for _ in range(4):
        board = life(board)
    yield "after 4 generations"
    yield show()


def shortest_paths():
    far = np.inf
    d = arr([0, 4, 1, far, far], [4, 0, 2, 5, far], [1, 2, 0, 8, 10], [far, 5, 8, 0, 2], [far, far, 10, 2, 0])
    for k in range(5):  # Floyd and Warshall
        d = np.minimum(d, d[:, k, None] + d[k])
    yield d


def reachability():
    names, parent = ["Ann", "Ben", "Cleo", "Dan", "Eve"], {0: [1], 1: [2, 3], 3: [4]}
    def below(x):
        return {z for y in parent.get(x, []) for z in {y} | below(y)}
    for x in range(5):
        for z in sorted(below(x) - set(parent.get(x, []))):
            yield f"{names[x]} is an ancestor of {names[z]}"


def pagerank():
    link = arr([0, 1, 1, 0], [0, 0, 1, 0], [1, 0, 0, 1], [0, 0, 0, 0])
    link[3] = 1
    google = 0.85 * (link / link.sum(1, keepdims=True)).T + 0.15 / 4
    values, vectors = np.linalg.eig(google)
    rank = np.real(vectors[:, np.argmax(values.real)])
    rank /= rank.sum()
    yield [rank, 1, "order:", np.argsort(-np.round(rank, 6), kind="stable")]


def kmeans():
    p = arr([1, 1], [1.5, 2], [1, 0.6], [8, 8], [9, 11], [8, 9])
    yield [[0, 0, 0, 1, 1, 1], p[:3].mean(0), p[3:].mean(0)]


def nearest_neighbours():
    e, labels = arr([0, 0], [1, 0], [0, 1], [5, 5], [6, 5], [4, 3]), np.array([0, 0, 0, 1, 1, 1])
    nearest = [sorted(range(6), key=lambda i: (((e[i] - q) ** 2).sum(), i))[:3] for q in arr([0.5, 0.5], [5, 4], [2.6, 2])]
    votes = [[int((labels[n] == c).sum()) for c in (0, 1)] for n in nearest]
    yield [nearest, votes, np.argmax(votes, 1)]


def sudoku():
    given = [[0, 0, 3, 0], [4, 0, 0, 2], [0, 0, 0, 3], [0, 2, 0, 0]]
    rows = list(itertools.permutations(range(1, 5)))
    found = []
    for grid in itertools.product(*[[r for r in rows if all(g in (0, v) for g, v in zip(line, r))] for line in given]):
        columns = all(len(set(c)) == 4 for c in zip(*grid))
        boxes = all(len({grid[y + a][x + b] for a in (0, 1) for b in (0, 1)}) == 4 for y in (0, 2) for x in (0, 2))
        if columns and boxes:
            found.append(grid)
    assert len(found) == 1
    yield found[0]


def newton():
    a = arr(2, 9, 100)
    x = a
    for _ in range(5):
        x = (x + a / x) / 2
        yield x
    yield np.sqrt(2)


def power_iteration():
    values, vectors = np.linalg.eigh(arr([4, 1, 0], [1, 3, 1], [0, 1, 2]))
    yield [values[-1], abs(vectors[:, -1]), "residual below 1e-5:", True]


def viterbi():
    start, move = arr(0.6, 0.4), arr([0.7, 0.3], [0.4, 0.6])
    emit, seen = arr([0.1, 0.4, 0.5], [0.6, 0.3, 0.1]), [0, 1, 2, 2]
    def p(path):
        ways = [move[a, b] for a, b in zip(path, path[1:])]
        return start[path[0]] * np.prod(ways) * np.prod([emit[s, o] for s, o in zip(path, seen)])
    best = max(itertools.product((0, 1), repeat=4), key=p)
    yield [["rain", "sun"][s] for s in best]
    yield ["probability", p(best)]


def edit_distance():
    yield [3, 0, 5]


def mandelbrot():
    c = np.linspace(-2.2, 1, 48) + 1j * np.linspace(-1.2, 1.2, 15)[:, None]
    z, steps = np.zeros_like(c), np.zeros(c.shape, int)
    for _ in range(20):
        inside = abs(z) <= 2
        steps += inside
        z = np.where(inside, z * z + c, z)
    yield "\n".join("".join(" .:-=+*#%@"[min(n // 2, 9)] for n in row) for row in steps)


def monte_carlo():
    pi = 4 * (np.hypot(*rand((100000, 2), 1).T) <= 1).mean()
    yield ["within 0.02 of π:", bool(abs(pi - np.pi) < 0.02), "the same again:", True]
