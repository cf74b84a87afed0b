#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Measures the service under load and writes bench/results/<processor>-load-<date>-<commit>.csv: calls a second
# (ghz), many sessions through Envoy, twice what the machine can take (live callers alone, then beside batch
# callers), and a soak of mixed callers; bench/compare.py compares two results. What happened over time is drawn into
# build/bench/plots.
#
#   bench/load.sh                      everything; 45 minutes
#   bench/load.sh --seconds 60 --soak 300   shorter: of each overload, of the soak
#   bench/load.sh overload mixed       only these (ghz, many, overload, raw, mixed, soak)
#
# Rows are bench,case,value,unit; lines with # name machine, commit and date. Nothing else should run. Ends with
# status 1 when something was not as it must be; what it was is printed as FAIL.
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
cd "$root"
build=build/release
seconds=300
soak=1800
what=()
while [ $# -gt 0 ]; do
    case $1 in
    --seconds) seconds=$2 && shift ;;
    --soak) soak=$2 && shift ;;
    ghz | many | overload | raw | mixed | soak) what+=("$1") ;;
    *)
        echo "load: unknown option $1; see the head of bench/load.sh" >&2
        exit 2
        ;;
    esac
    shift
done
[ ${#what[@]} -gt 0 ] || what=(ghz many overload raw mixed soak)

docker/deps.sh --test
docker/deps.sh --bench
. bench/machine.sh
build_programs lipstreamd lipstream-decode bench_yardstick
export LS_BUILD=$root/$build

out=$(result_file load)

one()
{
    case $1 in
    ghz | many) build/venv/bin/python bench/load_fleet.py "$1" ;;
    overload) build/venv/bin/python bench/load_overload.py --seconds "$seconds" --out build/bench/overload.csv ;;
    raw)
        build/venv/bin/python bench/load_overload.py --seconds "$seconds" --source raw \
            --out build/bench/overload-raw.csv
        ;;
    mixed)
        build/venv/bin/python bench/load_overload.py --seconds "$seconds" --batch 4 \
            --label "overload beside 4 batch callers" --out build/bench/overload-mixed.csv
        ;;
    soak) build/venv/bin/python bench/load_soak.py --seconds "$soak" --out build/bench/soak.csv ;;
    esac
}

measure()
{
    local status=0 name
    say_machine
    echo "# load before: $(cut -d' ' -f1-3 /proc/loadavg)"
    echo "bench,case,value,unit"
    $build/bench_yardstick before
    for name in "${what[@]}"; do
        one "$name" || status=1
    done
    $build/bench_yardstick after
    return $status
}
status=0
rm -f build/bench/overload*.csv build/bench/soak.csv
measure | tee build/bench/load.csv || status=1
grep -E '^(#|bench,|yardstick,|load,)' build/bench/load.csv >"$out"
series=(build/bench/overload*.csv build/bench/soak.csv)
for name in "${series[@]}"; do
    [ ! -f "$name" ] || build/venv/bin/python bench/load_plot.py "$name" >&2
done
echo "written: $out" >&2
exit $status
