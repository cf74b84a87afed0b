#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The README against the program: its tables of options, reasons and metrics are those of the headers, its
# table of warnings names just the warnings that the code gives, the server prints the same options, and
# every relative link leads to a file. `tests/e2e/readme.sh --write` puts the generated tables into the README.
set -u
build=${LS_BUILD:-build/release}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0
fail()
{
    printf 'FAIL %s\n' "$*"
    failures=$((failures + 1))
}

cc -std=c11 -D_GNU_SOURCE -I. -o "$work/tables" tests/e2e/_tables.c || exit 1

# The lines between <!-- name --> and <!-- /name -->.
section()
{
    sed -n "/^<!-- $1 -->\$/,/^<!-- \/$1 -->\$/p" "${2:-README.md}" | sed '1d;$d'
}

for name in options reasons metrics; do
    "$work/tables" $name >"$work/$name"
    if [ "${1-}" = --write ]; then
        sed -i -e "/^<!-- $name -->\$/r $work/$name" -e "/^<!-- $name -->\$/,/^<!-- \/$name -->\$/{/^|/d}" README.md
    fi
    section $name | diff - "$work/$name" >"$work/diff" || {
        fail "README.md, $name (tests/e2e/readme.sh --write mends it):"
        cat "$work/diff"
    }
done

# Reasons of warnings, as they stand in calls of ls_..._warn().
cat server/*.c | tr '\n' ' ' | grep -oE '_warn\([^";]*"[A-Z_]+"' | grep -oE '[A-Z_]+"$' | tr -d '"' | sort -u >"$work/code"
section warnings | sed -nE 's/^\| `([A-Z_]+)` .*/\1/p' | sort -u >"$work/readme"
diff "$work/readme" "$work/code" >"$work/diff" || {
    fail "README.md, warnings (<: only in the README, >: only in the code):"
    cat "$work/diff"
}

while read -r link; do
    [ -e "$link" ] || fail "README.md links to $link, which is not there"
done < <(grep -oE '\]\([^)#:]+[)#]' README.md | sed 's/^](//; s/[)#]$//')

if [ -x "$build/lipstreamd" ]; then
    "$work/tables" flags >"$work/flags"
    "$build/lipstreamd" --print-config | sed 's/ *=.*//' | diff "$work/flags" - || fail "lipstreamd --print-config prints other options"
else
    echo "SKIP: $build/lipstreamd is not built; --print-config not compared"
fi
[ $failures = 0 ]
