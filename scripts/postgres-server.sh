#!/bin/sh
# Makes sure that PostgreSQL's server programs and pgbench are here: installs
# the distribution's package as root, and says what to install otherwise.
set -eu

found() {
	for bin in /usr/lib/postgresql/*/bin; do
		if [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ] && [ -x "$bin/pgbench" ]; then
			return 0
		fi
	done
	return 1
}

if found; then
	exit 0
fi

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	cat >&2 <<-'EOF'
		PostgreSQL's server programs (initdb, postgres, pgbench) are needed under
		/usr/lib/postgresql/<major>/bin, and are not there. On Debian or Ubuntu:

		    sudo apt-get update && sudo apt-get install -y postgresql

		Tests and quickstart start throw-away servers of their own; a cluster that
		the package may have started is neither needed nor touched.
	EOF
	exit 1
fi

echo "Installing PostgreSQL's server programs (the Debian package postgresql)." >&2
export DEBIAN_FRONTEND=noninteractive

# The package would create and start a cluster on port 5432. Nobody asked for
# one, so it is told not to, for this installation only.
conf=/etc/postgresql-common/createcluster.d/terraform-provider-stitch.conf
trap 'rm -f "$conf"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "${conf%/*}"
echo "create_main_cluster = false" >"$conf"

apt-get update -q >&2
apt-get install -y -q --no-install-recommends postgresql >&2
found || { echo "The package postgresql brought no server programs to /usr/lib/postgresql/*/bin." >&2; exit 1; }
