#!/bin/sh
# Builds the trees of trees.tsv in a temporary folder and prints what find, sort and sha256sum make of them.
# No code of this project takes part:  ./make-golden.sh > golden.tsv
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tab=$(printf '\t')

while IFS="$tab" read -r kind path rest; do
    case $kind in
    tree) root=$work/$path; mkdir "$root"; continue ;;
    '' | '#'*) continue ;;
    esac
    mkdir -p "$(dirname "$root/$path")"
    case $kind in
    file) printf %s "$rest" >"$root/$path" ;;
    folder) mkdir -p "$root/$path" ;;
    link) ln -s -- "$rest" "$root/$path" ;;
    esac
done <"$here/trees.tsv"

cd "$work"
for tree in *; do
    hex=$(cd "$tree" && find -L . \
        \( -name .git -o -name '*.pyc' -o -name '*.pyo' -o -name '.nfs*' \
        -o -type d \( -name __pycache__ -o -name .dagsync -o -name lost+found \) \) -prune \
        -o -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 -r sha256sum -- | sha256sum | cut -d' ' -f1)
    h1=$(printf %s "$hex" | tr a-f A-F | basenc --base16 -d | base64)
    printf '%s\tsha256:%s\th1:%s\n' "$tree" "$hex" "$h1"
done
