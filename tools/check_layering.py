#!/usr/bin/env python3
"""Checks that every room of src/ includes only what the table in docs/architecture.md allows.

Usage: tools/check_layering.py [ROOT]      exit status 1 and one line per offending include otherwise
"""

import pathlib
import re
import sys

# Room -> the rooms it may include, besides itself and base. The table of docs/architecture.md.
ROOMS = {
    "base": set(),
    "tensor": set(),
    "text": set(),
    "ops": {"tensor"},
    "formats": {"tensor"},
    "graph": {"tensor", "ops"},
    "backend": {"tensor", "ops"},  # only backend.h lies in this folder itself
    "backend/reference": {"tensor", "ops", "backend"},
    "backend/cpu": {"tensor", "ops", "backend"},
    "backend/cuda": {"tensor", "ops", "backend"},
    "runtime": {"tensor", "ops", "graph", "backend"},
    "lang": {"tensor", "ops", "graph", "runtime"},
    "llm": {"tensor", "ops", "graph", "runtime", "formats", "text"},
    "inspect": {"tensor", "ops", "graph", "backend", "runtime", "formats", "text"},
    "logic": {"tensor", "ops", "graph", "runtime"},
}
ROOMS["library"] = {"lang", "llm", "inspect", "logic"} | ROOMS["lang"] | ROOMS["llm"] | ROOMS["inspect"] | ROOMS["logic"]
ROOMS["cli"] = set(ROOMS)

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')


def room_of(path):
    """The room that a path relative to src/ belongs to: its longest prefix in the table, or None."""
    parts = path.parent.parts
    for length in (2, 1):
        name = "/".join(parts[:length])
        if len(parts) >= length and name in ROOMS:
            return name
    return None


def offences(source):
    files = sorted(p for p in source.rglob("*") if p.suffix in {".h", ".cpp", ".cu", ".cuh", ".inc"})
    for file in files:
        room = room_of(file.relative_to(source))
        if room is None:
            yield f"{file}: lies in no room of the table"
            continue
        allowed = ROOMS[room] | {room, "base"}
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            target = match.group(1)
            if not (source / target).is_file():
                yield f'{file}:{number}: "{target}" is not a path below src/'
            elif room_of(pathlib.PurePath(target)) not in allowed:
                yield f'{file}:{number}: {room} may not include "{target}"'


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent
    found = list(offences(root / "src"))
    for line in found:
        print(line)
    if found:
        print(f"{len(found)} includes break the layering (docs/architecture.md has the table)")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
