#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The .proto files under buf's standard rules. A copy with a wrong name must be refused, or else the lint
# itself is not looking (an ignored folder, a renamed rule set).
set -u
buf=$PWD/build/tools/buf
[ -x "$buf" ] || { echo "SKIP: build/tools/buf is missing (docker/deps.sh --test builds it)"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

(cd proto && "$buf" lint) || { echo "FAIL proto: buf lint"; exit 1; }

cp -r proto/. "$work"
sed -i 's/ progress_interval = / progressInterval = /' "$work/lipstream/v1/lip_sync.proto"
if (cd "$work" && "$buf" lint) >"$work/out"; then
    echo "FAIL proto: a camelCase field passes the lint"
    exit 1
fi
grep -q progressInterval "$work/out" || { echo "FAIL proto: refused, but not for the field:"; cat "$work/out"; exit 1; }
