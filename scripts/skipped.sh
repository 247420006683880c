#!/bin/sh
# Runs a command that runs tests, such as "go test ./...", and says at its end what
# this machine lacks and how many tests were skipped for that, one line for each.
# Output and exit status are the command's own.
set -eu

skipped=$(mktemp)
trap 'rm -f "$skipped"' EXIT
trap 'exit 1' HUP INT TERM

status=0
STITCH_SKIPPED=$skipped "$@" || status=$? # internal/sandbox/lack.go writes there

if [ -s "$skipped" ]; then
	echo
	echo 'Tests that were skipped, by what this machine lacks:'
	LC_ALL=C sort "$skipped" | uniq -c | while read -r count line; do
		printf '%6d  %s\n' "$count" "$line"
	done
fi >&2
exit "$status"
