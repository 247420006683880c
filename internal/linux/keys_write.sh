# Puts a new file in the place of the one that $have stands for, or, if another is
# there, shows that.

command -v flock >/dev/null || die "the program flock was not found. Without it, another process could change the keys at the same time: install util-linux or busybox"
enter write
exec 9<. || die "cannot open $(pwd)"
tries=0
until flock -n 9; do
	tries=$((tries + 1))
	[ "$tries" -lt 300 ] || die "another process has kept $(pwd) locked for 30 seconds"
	sleep 0.1 2>/dev/null || sleep 1
done
look write
if [ "$now" != "$have" ]; then
	printf 'changed\n'
	show
	exit 0
fi
temporary=$(mktemp "./.$file.XXXXXX") || die "cannot create a file in $(pwd)"
trap 'rm -f "$temporary"' EXIT
trap 'exit 1' HUP INT TERM PIPE
printf '%s' "$content" | base64 -d >"$temporary" || die "cannot write in $(pwd)"
if [ "$now" != absent ]; then
	cp -a --attributes-only "$file" "$temporary" 2>/dev/null || {
		chgrp "$(stat -c %g "$file")" "$temporary" 2>/dev/null || :
		chmod "$(stat -c %a "$file")" "$temporary" || die "cannot give the new file the permissions of the old one"
	}
	touch "$temporary"
fi
sum=$(sha256sum <"$temporary") || die "cannot read back the file written in $(pwd)"
[ "${sum%% *}" = "$want" ] || die "the file written in $(pwd) differs from what was sent: is the disk full?"
sync "$temporary" || die "cannot write in $(pwd)"
# Not everybody locks.
look write
if [ "$now" != "$have" ]; then
	printf 'changed\n'
	show
	exit 0
fi
mv -f "$temporary" "$file" || die "cannot replace $(pwd)/$file with the new file"
trap - EXIT
sync . 2>/dev/null || :
if command -v restorecon >/dev/null; then restorecon -F "$file" >/dev/null 2>&1 || :; fi
printf 'written\n'
