#!/usr/bin/env bash
# Usage: tools/dist_train.sh CONFIG PROCESSES [ARGUMENTS OF tools/train.py]
# On GPUs one process a GPU; without one the processes share the CPU (gloo).
set -euo pipefail

CONFIG=$1
PROCESSES=$2
shift 2
NNODES=${NNODES:-1}
NODE_RANK=${NODE_RANK:-0}
PORT=${PORT:-29500}
MASTER_ADDR=${MASTER_ADDR:-127.0.0.1}

exec python -m torch.distributed.run \
    --nnodes="$NNODES" --node_rank="$NODE_RANK" --nproc_per_node="$PROCESSES" \
    --master_addr="$MASTER_ADDR" --master_port="$PORT" \
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch "$@"
