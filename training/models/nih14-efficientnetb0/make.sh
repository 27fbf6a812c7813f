#!/usr/bin/env bash
# Everything of the shipped model, from images to the bundle with its card: make.sh DATA WORK.
# DATA: images with labels.csv. WORK: an empty folder; what is finished there is not repeated.
# Where the packages of the group export are installed; on two cores about three hours, most of them for the fits.
set -euo pipefail
data=$1 work=$2
cd "$(dirname "$0")/../../.."
cache=$work/cache model=$work/runs/student bundle=$work/bundle results=$work/results
large=(A B C D E F) natural=(G)
of_large=("${large[@]/#/--collection=}") of_natural=("${natural[@]/#/--collection=}")

python -m training prepare "$data" --out "$cache" --size 64 --size 128 --size 224
small='stages=[{size=64,epochs=8,learning_rate=1e-3},{size=128,epochs=6,learning_rate=5e-4}]'
for name in first second student; do
  if [ -e "$work/runs/$name/model.keras" ]; then continue; fi
  case $name in
    first) how=(--set "$small" --set optimizer.ema=0.998) ;;
    second) how=(--set "$small" --set optimizer.ema=0.998 --set seed=1) ;;
    student)
      how=(--recipe training/recipes/student.toml --set "initial=$work/runs/first/model.keras"
        --set "distillation.teachers=[\"$work/runs/first/model.keras\",\"$work/runs/second/model.keras\"]") ;;
  esac
  python -m training fit "$cache" --out "$work/runs/$name" --resume "${how[@]}"
done

python -m training calibrate "$model" "$cache" "${of_natural[@]}"
python -m export "$model/model.keras" --out "$bundle"
python -m export variant "$bundle" fp16 --data "$cache" --test "${of_large[@]}"
python -m export ood "$bundle" --data "$cache" --test
python -m export header-checks "$bundle" --data "$cache" --test
boxes=$work/boxes.csv
if [ -e "$data/boxes.csv" ]; then cp "$data/boxes.csv" "$boxes"; fi
with_boxes=(); if [ -e "$boxes" ]; then with_boxes=(--boxes "$boxes"); fi
evaluate=(python -m training evaluate "$cache" --bundle "$bundle")
"${evaluate[@]}" --out "$results/validation"
"${evaluate[@]}" --out "$results/validation-large" --reduced-to 128 "${of_large[@]}"
"${evaluate[@]}" --out "$results/test-large" --part test --reduced-to 128 "${of_large[@]}" "${with_boxes[@]}"
"${evaluate[@]}" --out "$results/test-natural" --part test "${of_natural[@]}"
python -m export card "$bundle" --validation "$results/validation/evaluation.json" \
  --test "$results/test-large/evaluation.json" --test "$results/test-natural/evaluation.json" \
  --notes training/models/nih14-efficientnetb0/notes.md

# The ensemble, which is not shipped.
for name in first second; do
  python -m training calibrate "$work/runs/$name" "$cache" "${of_natural[@]}"
  python -m export "$work/runs/$name/model.keras" --out "$work/$name"
done
python -m export ensemble "first=$work/first" "second=$work/second" "student=$bundle" --data "$cache" \
  --out "$work/ensemble" --name nih14-efficientnetb0-ensemble
evaluate=(python -m training evaluate "$cache" --bundle "$work/ensemble" --part test)
for part in large natural; do
  declare -n collections="of_$part"
  "${evaluate[@]}" --out "$results/ensemble-$part" "${collections[@]}" \
    --compare-with "$results/test-$part/predictions.csv"
done
