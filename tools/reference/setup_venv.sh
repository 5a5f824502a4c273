#!/usr/bin/env bash
# Makes the virtual environment of the reference tools; prints its python.
#
#   tools/reference/setup_venv.sh [DIR]        (default: .cache/reference-venv in the repository)
#
# llama.cpp is compiled for this machine (needs a C++ compiler and CMake; some ten minutes).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=${1:-$here/../../.cache/reference-venv}
if ! "$venv/bin/python" -c 'import gguf, jinja2, llama_cpp, numpy, safetensors, tokenizers' 2>/dev/null; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --upgrade pip >&2
  CMAKE_ARGS="-DGGML_NATIVE=ON" "$venv/bin/pip" install --quiet --requirement "$here/requirements.txt" >&2
fi
echo "$(cd "$venv" && pwd)/bin/python"
