#!/bin/sh
# Makes sure that PgBouncer is here, through which tests connect as users of
# pools do: installs the distribution's package as root, and says what to install
# otherwise.
set -eu

found() { command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ]; }

if found; then
	exit 0
fi

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	cat >&2 <<-'EOF'
		PgBouncer is needed, and is not there. On Debian or Ubuntu:

		    sudo apt-get update && sudo apt-get install -y pgbouncer

		Tests start throw-away ones of their own; one that the package may have
		started is neither needed nor touched.
	EOF
	exit 1
fi

echo "Installing PgBouncer (the Debian package pgbouncer)." >&2
"${0%/*}/apt-install.sh" pgbouncer # which would start one on port 6432
found || { echo "The package pgbouncer brought no program pgbouncer." >&2; exit 1; }
