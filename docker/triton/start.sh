#!/bin/sh
# Starts tritonserver with nothing open that the front door does not use. Arguments are added to the server's.
#
# Reads MODEL_REPOSITORY (/models), GRPC_PORT (8001), METRICS_PORT (8002) and DRAIN_S (30) from the environment.
set -eu

# Nobody may use shared memory, or change logging and tracing: these calls want a header with a value that is made here
# and told to nobody. Loading models is off as a whole.
closed=shared-memory,trace,logging
secret=$(cat /proc/sys/kernel/random/uuid)

# A connection ends after five minutes, in milliseconds here: its client looks the address up again and so finds
# servers that autoscaling has added. Requests under way have another minute.
exec tritonserver \
    --model-repository="${MODEL_REPOSITORY:-/models}" \
    --model-control-mode=none \
    --disable-auto-complete-config \
    --exit-on-error=true \
    --strict-readiness=true \
    --exit-timeout-secs="${DRAIN_S:-30}" \
    --allow-http=false \
    --allow-sagemaker=false \
    --allow-vertex-ai=false \
    --allow-grpc=true \
    --grpc-port="${GRPC_PORT:-8001}" \
    --grpc-restricted-protocol="${closed}:reviewlens-closed=${secret}" \
    --grpc-max-connection-age=300000 \
    --grpc-max-connection-age-grace=60000 \
    --allow-metrics=true \
    --metrics-port="${METRICS_PORT:-8002}" \
    "$@"
