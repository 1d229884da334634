#!/bin/sh
# service.sh ACT SERVICE: through systemd where it runs, else through the service command.
if [ $# -lt 2 ] || [ -z "$1" ] || [ -z "$2" ]; then
    echo "usage: service.sh ACT SERVICE" >&2
    exit 2
fi
if [ -d /run/systemd/system ]; then
    exec systemctl "$1" "$2"
fi
exec service "$2" "$1"
