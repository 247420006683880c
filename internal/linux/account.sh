# What /etc/passwd, /etc/group and /etc/shadow say of a user. Nothing prints a hash.

die() {
	printf '%s\n' "$*" >&2
	exit 1
}

# entry FILE NAME prints the line of a name.
entry() {
	sought=$2 awk -F: '$1 "" == ENVIRON["sought"] "" { print; exit }' "$1"
}

# account NAME sets origin (local, directory, absent) and the fields of its line.
account() {
	origin=local
	line=$(entry /etc/passwd "$1") || die "cannot read /etc/passwd"
	if [ -z "$line" ] && command -v getent >/dev/null; then
		origin=directory
		status=0
		line=$(getent passwd "$1") || status=$?
		case $status in
		0) ;;
		2) line= ;;
		*) die "getent passwd $1 failed with exit status $status" ;;
		esac
		case $line in
		"$1":*) ;; # not one of which the name is the uid
		*) line= ;;
		esac
	fi
	[ -n "$line" ] || origin=absent
	set -f
	IFS=:
	# shellcheck disable=SC2086 # it is to be split
	set -- $line
	unset IFS
	set +f
	password=${2-} uid=${3-} gid=${4-} gecos=${5-} home=${6-} shell=${7-}
}

# enter_parent HOME changes into the directory that a home directory is to be made in. It is
# root's alone: others who may write to it could put a link in the place of what root makes
# there and gives away, and later in the place of the home directory.
enter_parent() {
	parent=${1%/*}
	parent=${parent:-/}
	[ -d "$parent" ] || die "the parent of the home directory, $parent, does not exist: create it first, or set home to another path"
	cd -P "$parent" || die "cannot enter the parent of the home directory, $parent"
	found=$(stat -c '%u %A' .) || die "cannot inspect the parent of the home directory, $parent"
	case $found in
	0\ d????-??-*) ;;
	*) die "users other than root can write to $parent, and could replace a home directory in it: set home to a path in a directory that belongs to root and to which only root can write (chown root, chmod go-w)" ;;
	esac
}

# The name of a file that only root can make in somebody's directory.
left_mark=.terraform-provider-stitch

# leave_home HOME has a home directory recognised as that of the deleted user $name, whose
# files are left in it.
leave_home() (
	cd -P "$1" || exit
	rm -f "./$left_mark"
	set -C # through no link
	printf 'left by terraform-provider-stitch: %s %s\n' "$name" "$uid" >"./$left_mark" && chmod 644 "./$left_mark"
)

# was_left HOME sets left_uid if it is the home directory that leave_home left of a user called $name.
was_left() {
	left_uid=
	[ -d "$1" ] && [ ! -L "$1" ] && [ -f "$1/$left_mark" ] && [ ! -L "$1/$left_mark" ] || return 1
	[ "$(stat -c %u "$1/$left_mark")" = 0 ] || return 1
	left_uid=$(stat -c %u "$1")
	[ "$left_uid" -gt 0 ] && [ "$(cat "$1/$left_mark")" = "left by terraform-provider-stitch: $name $left_uid" ] || return 1
	[ -z "$(sought=$left_uid awk -F: '$3 "" == ENVIRON["sought"] "" { print; exit }' /etc/passwd)" ] # or it is somebody's by now
}

# make_home HOME makes it in the directory that was entered, for the user $uid.
make_home() {
	mkdir -m 700 "./${1##*/}" || die "cannot create the home directory"
	made_home=yes
	chown -h "$uid:$gid" "./${1##*/}" || die "cannot make the user the owner of its home directory"
	if command -v restorecon >/dev/null; then restorecon "$1" >&2 || :; fi
}

# facts LABEL PATH prints what lstat says, or that there is nothing.
facts() {
	if found=$(stat -c '%f %u %g' "$2" 2>&1); then
		printf '%s %s\n' "$1" "$found"
	else
		case $found in
		*'No such file'* | *'Not a directory'*) printf '%s absent\n' "$1" ;;
		*) printf '%s unreadable\n' "$1" ;;
		esac
	fi
}

# shadow NAME prints what kind of password it is, and when it and the user expire.
shadow() {
	if [ "$password" != x ]; then
		printf 'user:%s\n' "$password"
	elif [ -r /etc/shadow ]; then
		entry /etc/shadow "$1"
	fi | awk -F: '{
		kind = "set"
		if ($2 == "") kind = "empty"
		if ($2 ~ /^!/) kind = "locked"
		if ($2 ~ /^\*/) kind = "none"
		print "password " kind
		print "changed " $3
		print "longest " $5
		print "expires " $8
	}'
	printf 'today %s\n' "$(($(date +%s) / 86400))"
}

# describe NAME prints all that is read of a user.
describe() {
	account "$1"
	printf 'origin %s\n' "$origin"
	[ "$origin" != absent ] || return 0
	group=$(sought=$gid awk -F: '$3 "" == ENVIRON["sought"] "" { print $1; exit }' /etc/group)
	if [ -z "$group" ] && command -v getent >/dev/null; then
		group=$(getent group "$gid" | cut -d: -f1)
	fi
	printf 'uid %s\ngid %s\ngecos %s\nhome %s\nshell %s\ngroup %s\n' "$uid" "$gid" "$gecos" "$home" "$shell" "$group"
	shadow "$1"
	[ -x "$shell" ] && printf 'executable yes\n'
	facts homedir "$home/."
	facts sshdir "$home/.ssh"
	facts keysfile "$home/.ssh/authorized_keys"
}

# edit FILE FIELD VALUE changes a field of the line of $name, where usermod is
# missing. It locks the file as busybox does.
edit() {
	tries=0
	until (set -C && : >"$1+") 2>/dev/null; do
		tries=$((tries + 1))
		[ "$tries" -lt 30 ] || die "cannot change $1: the lock file $1+ exists, which means that another process is changing it"
		sleep 1
	done
	if cp -p "$1" "$1+" &&
		sought=$name field=$2 value=$3 awk 'BEGIN { FS = OFS = ":" }
			$1 "" == ENVIRON["sought"] "" { $(ENVIRON["field"] + 0) = ENVIRON["value"] }
			{ print }' "$1" >"$1+" &&
		sync "$1+" &&
		mv "$1+" "$1"; then
		return
	fi
	rm -f "$1+"
	die "cannot change $1"
}
