#!/usr/bin/env bash
# The whole benchmark from weights in one directory, on one GPU or several; it resumes.
#
#   baselines/run_all.sh RELEASE WEIGHTS RESULTS
#
# RELEASE   folder of a release
# WEIGHTS   one folder a model, named as in `models list`
# RESULTS   made when it is not there; what is there is not run again
#
# A model whose folder is missing under WEIGHTS is named at the start, and the script stops
# unless ALLOW_MISSING=1 says that the others shall be run. Options by environment:
# DEVICE (cuda), TRACKS (pooled cross external pretreatment), BY (source drug_class regimen cancer),
# STRATEGIES (frozen lora), RANKS (8), SEEDS (0).
set -euo pipefail

[ $# -eq 3 ] || { sed -n '4,9s/^# \{0,1\}//p' "$0"; exit 2; }
release=$1 weights=$2 results=$3
here=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-"$here/.venv/bin/python"}
device=${DEVICE:-cuda}

present=() missing=()
for model in $("$python" "$here/cli.py" models list --json |
  "$python" -c 'import json, sys; print(*(m["model"] for m in json.load(sys.stdin)))'); do
  if [ -d "$weights/$model" ]; then present+=("$model"); else missing+=("$model"); fi
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "no weights of: ${missing[*]}" >&2
  [ "${ALLOW_MISSING:-0}" = 1 ] || { echo "put them there, or set ALLOW_MISSING=1" >&2; exit 1; }
fi
[ ${#present[@]} -gt 0 ] || { echo "there are no weights under $weights" >&2; exit 1; }
models=$(IFS=,; echo "${present[*]}")
comparators=majority,batch_only,depth_only,line_only,logistic_regression,random_forest,svc,mlp
comparators+=,naive_bayes

failed=()
run() {
  echo "== $*" >&2
  "$python" "$here/cli.py" benchmark --release "$release" --out "$results" "$@" || failed+=("$*")
}

for seed in ${SEEDS:-0}; do
  for track in ${TRACKS:-pooled cross external pretreatment}; do
    for by in ${BY:-source drug_class regimen cancer}; do
      common=(--track "$track" --by "$by" --seed "$seed" --weights "$weights" --device "$device")
      run "${common[@]}" --models "$comparators"
      for strategy in ${STRATEGIES:-frozen lora}; do
        if [ "$strategy" = frozen ]; then
          run "${common[@]}" --models "$models"
        else
          for rank in ${RANKS:-8}; do
            run "${common[@]}" --models "$models" --strategy lora --rank "$rank"
          done
        fi
      done
    done
  done
done

"$python" "$here/cli.py" report --results "$results"
if [ ${#failed[@]} -gt 0 ]; then
  printf 'did not run: %s\n' "${failed[@]}" >&2
  exit 1
fi
