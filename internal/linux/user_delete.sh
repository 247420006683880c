# Deletes the user $name if it is the one that is meant, in this order: nobody
# new gets in, those who are in are ended, the user goes, then its home directory.

account "$name"
[ "$origin" != absent ] || {
	printf 'absent\n'
	exit 0
}
[ "$uid" = "$have_uid" ] || exit 85
case $gecos in
*,*,*,*,*,*) ours= ;;
*,*,*,*,"$mark") ours=yes ;;
*) ours= ;;
esac
[ "$origin" = local ] && [ "$uid" -gt 0 ] && [ -n "$ours" ] || {
	printf 'kept\n'
	exit 0
}

# processes prints those of the user: "process PID NAME". Those of other PID namespaces are
# containers', whose users are others.
processes() {
	ours=$(readlink /proc/self/ns/pid)
	for directory in /proc/[0-9]*; do
		command= state= owner=
		while read -r key value rest; do
			case $key in
			Name:) command=$value${rest:+ $rest} ;;
			State:) state=$value ;;
			Uid:) owner=$value && break ;;
			esac
		done 2>/dev/null <"$directory/status"
		[ "$owner" = "$uid" ] && [ "$state" != Z ] || continue
		namespace=$(readlink "$directory/ns/pid") && [ "$namespace" != "$ours" ] && continue
		printf 'process %s %s\n' "${directory#/proc/}" "$command"
	done 2>/dev/null
}

# signal NAME SECONDS sends a signal to all of them until there are none, for as long.
signal() {
	tries=0
	while running=$(processes) && [ -n "$running" ] && [ "$tries" -lt $((5 * $2)) ]; do
		# shellcheck disable=SC2046 # they are to be split
		kill -s "$1" $(printf '%s\n' "$running" | cut -d' ' -f2) 2>/dev/null || :
		sleep 0.2 2>/dev/null || sleep 1
		tries=$((tries + 1))
	done
}

# expire DAY sets the day after which the user may not log in; "" is never.
expire() {
	if command -v usermod >/dev/null; then usermod -e "$1" "$name" >&2; else (edit /etc/shadow 8 "$1"); fi
}

refuse() {
	printf 'busy\n%s\n' "$1"
	exit 0
}

# A tunnel that was just closed takes a moment to end.
tries=0
while running=$(processes) && [ -n "$running" ] && [ -z "$force" ]; do
	[ "$tries" -lt 15 ] || refuse "$running"
	sleep 0.2 2>/dev/null || sleep 1
	tries=$((tries + 1))
done

expires=$(entry /etc/shadow "$name" | cut -d: -f8)
restore() {
	status=$?
	trap - EXIT
	expire "$expires"
	exit "$status"
}
trap restore EXIT
trap 'exit 1' HUP INT TERM PIPE
expire 1 || die "cannot block logins as the user"

running=$(processes)
[ -z "$running" ] || [ -n "$force" ] || refuse "$running"
signal TERM 5
signal KILL 10
[ -z "$running" ] || refuse "$running"

if command -v userdel >/dev/null; then userdel "$name"; else deluser "$name"; fi >&2
status=$?
[ -z "$(entry /etc/passwd "$name")" ] || die "the user could not be deleted (exit status $status)"
trap - EXIT
gone_home=$home
group=$(entry /etc/group "$name")
# userdel leaves the user's own group where USERGROUPS_ENAB says so.
if [ "$(printf '%s\n' "$group" | cut -d: -f3)" = "$gid" ] && [ -z "$(printf '%s\n' "$group" | cut -d: -f4)" ] &&
	[ -z "$(sought=$gid awk -F: '$4 "" == ENVIRON["sought"] "" { print; exit }' /etc/passwd)" ]; then
	if command -v groupdel >/dev/null; then groupdel "$name"; else delgroup "$name"; fi >&2 || :
fi
printf 'deleted\n'

keep() {
	printf 'home %s\n' "$1"
	exit 0
}
case $gone_home in
/[!/]*/*) ;;
*) keep "is not below another directory" ;;
esac
# What was entered stays what it is, whoever replaces the way to it meanwhile.
gone_home=${gone_home%/}
cd -P "${gone_home%/*}" 2>/dev/null || exit 0
gone_home=$(pwd -P)/${gone_home##*/}
inside=./${gone_home##*/}
[ -e "$inside" ] || [ -L "$inside" ] || exit 0
[ ! -L "$inside" ] && [ -d "$inside" ] || keep "is not a directory"
[ "$(stat -c %u "$inside")" = "$uid" ] || keep "belongs to another user"
mounted=$(sought=$gone_home awk 'BEGIN {
		path = ENVIRON["sought"]
		gsub(/\\/, "\\134", path)
		gsub(/ /, "\\040", path)
	}
	$5 == path || index($5, path "/") == 1 { print $5; exit }' /proc/self/mountinfo)
[ -z "$mounted" ] || keep "has something mounted at $mounted"
if [ -n "$remove_home" ]; then
	rm -rf "$inside" >&2 || keep "could not be removed"
	exit 0
fi
# What holds nothing is nobody's loss.
keys=$inside/.ssh/authorized_keys
if [ -d "$inside/.ssh" ] && [ ! -L "$inside/.ssh" ] && [ -f "$keys" ] && [ ! -L "$keys" ] && [ ! -s "$keys" ]; then
	rm -f "$keys"
fi
[ ! -d "$inside/.ssh" ] || [ -L "$inside/.ssh" ] || rmdir "$inside/.ssh" 2>/dev/null
rmdir "$inside" 2>/dev/null || {
	leave_home "$inside" >&2 || :
	keep "holds files"
}
