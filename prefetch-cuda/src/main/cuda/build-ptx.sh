#!/usr/bin/env bash
# Makes the PTX resources from the kernels, or with --check compares instead of writing.
#
#     build-ptx.sh [--check]
#
# The code is for compute capability 7.5 and the .version line is lowered to 7.0, so that every driver since CUDA 11.0 loads
# it; ptxas then proves that nothing newer is used. The first lines record what a file was made from. Check: exit 1 when a
# file is stale, 3 when there is no nvcc and only the hashes of the sources were compared.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$here/../resources/dev/prefetch/cuda
nvcc=${NVCC:-nvcc}
check=
[ "${1:-}" != --check ] || check=1

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$out"
headers=$(cd "$here" && cat *.cuh | sha256sum | cut -c1-64)
have_nvcc=1
command -v "$nvcc" >/dev/null || have_nvcc=

[ -n "$check$have_nvcc" ] || { echo "there is no nvcc: put it on PATH, or set NVCC" >&2; exit 2; }

for source in "$here"/*.cu; do
    name=$(basename "$source" .cu)
    target=$out/$name.ptx
    hash=$(sha256sum "$source" | cut -c1-64)
    if [ -n "$check" ]; then
        grep -q "^// source-sha256: $hash$" "$target" && grep -q "^// headers-sha256: $headers$" "$target" ||
            { echo "$target was made from another version of $source or of the headers: run $0" >&2; exit 1; }
        [ -n "$have_nvcc" ] || continue
    fi
    (cd "$here" && "$nvcc" -std=c++17 -O3 -arch=compute_75 -ptx "$name.cu" -o "$scratch/raw.ptx")
    tools=$(sed -n 's@^// \(Cuda compilation tools.*\)@\1@p' "$scratch/raw.ptx")
    {
        echo "// source-sha256: $hash"
        echo "// headers-sha256: $headers"
        echo "// made by: nvcc -std=c++17 -O3 -arch=compute_75 -ptx, .version lowered to 7.0; $tools"
        # nvcc puts a hash of the file's path into the names of internal symbols.
        sed -e 's/^\.version .*/.version 7.0/' -e 's/_INTERNAL_[0-9a-f]\{8\}_/_INTERNAL_00000000_/g' "$scratch/raw.ptx"
    } >"$scratch/$name.ptx"
    for capability in sm_75 sm_80 sm_86 sm_89 sm_90 sm_100 sm_120; do
        "${nvcc%nvcc}ptxas" -arch=$capability "$scratch/$name.ptx" -o "$scratch/cubin" ||
            { echo "ptxas refuses $name for $capability" >&2; exit 1; }
    done
    if [ -z "$check" ]; then
        cp "$scratch/$name.ptx" "$target"
        echo "$name.ptx: $(grep -c '\.entry' "$target") kernels, $(wc -c <"$target") bytes"
    elif [ "$(sed -n 's@^// made by: .*; \(Cuda compilation tools.*\)@\1@p' "$target")" != "$tools" ]; then
        echo "$name.ptx was made by another nvcc than this ($tools): its parameter lists are compared"
        diff <(sed -n '/\.entry/,/^)/p' "$target") <(sed -n '/\.entry/,/^)/p' "$scratch/$name.ptx")
    else
        cmp "$scratch/$name.ptx" "$target"
        echo "$name.ptx is up to date"
    fi
done
[ -n "$have_nvcc" ] || exit 3
