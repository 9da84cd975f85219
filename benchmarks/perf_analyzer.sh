#!/usr/bin/env bash
# Runs perf_analyzer against a Triton that serves model_repository (start one with `make triton`).
#
#   bash benchmarks/perf_analyzer.sh [perf_analyzer options]
#
# PERF_INPUT is the input file (python -m benchmarks.perf_input writes one for another repository), TRITON_URL the server.
# A busy machine may need a looser --stability-percentage.
#
# The perf-analyzer package needs glibc 2.38. Older systems get the perf_analyzer of the tritonclient 2.51.0 wheel, whose
# two missing libraries the Triton wheel carries. It lives in a folder of its own: its protobuf is not the client's.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=.perf-analyzer
binary=$folder/tritonclient-2.51.0.data/data/bin/perf_analyzer
if [ ! -x "$binary" ]; then
  mkdir -p "$folder/lib"
  .venv/bin/python -m pip download --quiet --no-deps --dest "$folder" tritonclient==2.51.0
  .venv/bin/python -m zipfile -e "$folder"/tritonclient-2.51.0-*.whl "$folder"
  libraries=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/nvidia_pytriton.libs
  ln -sf "$libraries"/libb64-*.so.0d "$folder/lib/libb64.so.0d"
  ln -sf "$libraries"/libcudart-*.so.12* "$folder/lib/libcudart.so.12"
  chmod +x "$binary"
fi
LD_LIBRARY_PATH=$folder/lib exec "$binary" -m review_analysis -i grpc -u "${TRITON_URL:-127.0.0.1:8001}" \
  --input-data "${PERF_INPUT:-benchmarks/perf_analyzer_input.json}" --concurrency-range 1:4 --measurement-interval 3000 "$@"
