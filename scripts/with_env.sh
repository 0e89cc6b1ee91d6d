#!/usr/bin/env bash
# Run a command in the project's environment: scripts/with_env.sh onet demo
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec "$@"
