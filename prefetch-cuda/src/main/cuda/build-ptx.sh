#!/usr/bin/env bash
# Makes the PTX resources from the kernels, or with --check compares instead of writing.
#
#     build-ptx.sh [--check]
#
# The code is for compute capability 7.5 and the .version line is lowered to 7.0, so that every driver since CUDA 11.0 loads
# it; ptxas then proves that nothing newer is used. The first lines record what a file was made from. Check: exit 1 when a
# file is stale, 3 when there is no nvcc and only the hashes of the sources were compared.
#
# The header grids.cuh, the points of the grid formats, is written from the resource that the core reads them from. The
# files are made side by side, as many at once as there are processors.
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
out=$here/../resources/dev/prefetch/cuda
nvcc=${NVCC:-nvcc}
check=
[ "${1:-}" != --check ] || check=1

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$out"

# The six tables as they follow each other in the resource; a word is a point.
grids() {
    local resource=$here/../../../../prefetch-core/src/main/resources/dev/prefetch/backend/cpu/grids.bin
    local at=0 name points
    echo "// The points of the grid formats, made from the core's grids.bin by build-ptx.sh: do not edit."
    echo "// They are those of ggml (https://github.com/ggml-org/llama.cpp, MIT License, copyright the ggml authors)."
    echo "#pragma once"
    while read -r name points; do
        echo
        echo "static __device__ const uint16_t ${name}_points[$points] = {"
        od -An -v --endian=little -t u2 -w32 -j "$at" -N $((points * 2)) "$resource" | sed 's/^ *//; s/  */, /g; s/.*/    &,/'
        echo "};"
        at=$((at + points * 2))
    done <<<"iq2_xxs 256
iq2_xs 512
iq2_s 1024
iq1 2048
iq3_xxs 256
iq3_s 512"
}
grids >"$scratch/grids.cuh"
if [ -z "$check" ]; then
    cp "$scratch/grids.cuh" "$here/grids.cuh"
else
    cmp "$scratch/grids.cuh" "$here/grids.cuh" || { echo "grids.cuh differs from the core's tables: run $0" >&2; exit 1; }
fi
headers=$(cd "$here" && cat *.cuh | sha256sum | cut -c1-64)
have_nvcc=1
command -v "$nvcc" >/dev/null || have_nvcc=

[ -n "$check$have_nvcc" ] || { echo "there is no nvcc: put it on PATH, or set NVCC" >&2; exit 2; }

# Makes one file, or compares it; what it prints belongs to that file alone.
make_one() {
    local source=$1 name target hash tools capability
    name=$(basename "$source" .cu)
    target=$out/$name.ptx
    hash=$(sha256sum "$source" | cut -c1-64)
    if [ -n "$check" ]; then
        grep -q "^// source-sha256: $hash$" "$target" && grep -q "^// headers-sha256: $headers$" "$target" ||
            { echo "$target was made from another version of $source or of the headers: run $0"; return 1; }
        [ -n "$have_nvcc" ] || return 0
    fi
    (cd "$here" && "$nvcc" -std=c++17 -O3 -arch=compute_75 -ptx "$name.cu" -o "$scratch/$name.raw") || return 1
    tools=$(sed -n 's@^// \(Cuda compilation tools.*\)@\1@p' "$scratch/$name.raw")
    {
        echo "// source-sha256: $hash"
        echo "// headers-sha256: $headers"
        echo "// made by: nvcc -std=c++17 -O3 -arch=compute_75 -ptx, .version lowered to 7.0; $tools"
        # nvcc puts a hash of the file's path into the names of internal symbols.
        sed -e 's/^\.version .*/.version 7.0/' -e 's/_INTERNAL_[0-9a-f]\{8\}_/_INTERNAL_00000000_/g' "$scratch/$name.raw"
    } >"$scratch/$name.ptx"
    # What is byte by byte what ptxas has accepted before needs no second proof.
    if [ -z "$check" ] || ! cmp -s "$scratch/$name.ptx" "$target"; then
        for capability in sm_75 sm_80 sm_86 sm_89 sm_90 sm_100 sm_120; do
            "${nvcc%nvcc}ptxas" -arch=$capability "$scratch/$name.ptx" -o "$scratch/$name.cubin" ||
                { echo "ptxas refuses $name for $capability"; return 1; }
        done
    fi
    if [ -z "$check" ]; then
        cp "$scratch/$name.ptx" "$target"
        echo "$name.ptx: $(grep -c '\.entry' "$target") kernels, $(wc -c <"$target") bytes"
    elif [ "$(sed -n 's@^// made by: .*; \(Cuda compilation tools.*\)@\1@p' "$target")" != "$tools" ]; then
        echo "$name.ptx was made by another nvcc than this ($tools): its parameter lists are compared"
        diff <(sed -n '/\.entry/,/^)/p' "$target") <(sed -n '/\.entry/,/^)/p' "$scratch/$name.ptx")
    else
        cmp "$scratch/$name.ptx" "$target" && echo "$name.ptx is up to date"
    fi
}

failed=
pids=()
# The largest first.
for source in $(ls -S "$here"/*.cu); do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n || true; done
    make_one "$source" >"$scratch/$(basename "$source").log" 2>&1 &
    pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
cat "$scratch"/*.log
[ -z "$failed" ] || exit 1
[ -n "$have_nvcc" ] || exit 3
