#!/bin/sh
# traceroute.sh HOST [HOPS] [PROBES]
if ! command -v traceroute >/dev/null; then
    echo "traceroute is not installed on $(hostname)" >&2
    exit 2
fi
exec traceroute -q "${3:-3}" -m "${2:-30}" "$1"
