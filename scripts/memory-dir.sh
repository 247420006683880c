#!/bin/sh
# Prints the directory for what tests write and nobody keeps: memory, if the machine has ten
# gigabytes of it to spare and lets programs run from there; else where temporary files go.
set -eu

otherwise=${TMPDIR:-/tmp}
need=10000000 # KiB
memory=/dev/shm

available=$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo 2>/dev/null) || available=
room=$(df -kP "$memory" 2>/dev/null | awk 'NR == 2 { print $4 }') || room=
if [ "${available:-0}" -lt $need ] || [ "${room:-0}" -lt $need ]; then
	echo "$otherwise"
	exit
fi
program=$(mktemp "$memory/stitch-XXXXXX" 2>/dev/null) || { echo "$otherwise"; exit; }
trap 'rm -f "$program"' EXIT
printf '#!/bin/sh\n' >"$program"
chmod u+x "$program"
if "$program" 2>/dev/null; then echo "$memory"; else echo "$otherwise"; fi
