# Says where the home directory of $name is, and where sshd looks for its keys.

# ask_sshd HOST prints the settings of sshd as they apply to $name on a connection from $peer.
ask_sshd() {
	"$sshd" -T -C "user=$name,host=$1,addr=$peer,laddr=$local_address,lport=$local_port" 2>&1
}

# peer_name prints what sshd calls $peer if it resolves addresses (UseDNS): a name that leads
# back to the address, or else the address.
peer_name() {
	if command -v getent >/dev/null; then
		resolved=$(getent hosts "$peer" | awk '{ print tolower($2); exit }')
		if [ -n "$resolved" ] && getent ahosts "$resolved" | sought=$peer awk '$1 "" == ENVIRON["sought"] "" { found = 1 } END { exit !found }'; then
			printf '%s\n' "$resolved"
			return
		fi
	fi
	printf '%s\n' "$peer"
}

# effective prints the settings of sshd as they apply to $name, if root asks.
effective() {
	sshd=$(command -v sshd) || sshd=/usr/sbin/sshd
	[ -x "$sshd" ] || {
		printf 'the program sshd was not found\n'
		return 1
	}
	answer=$(ask_sshd "$peer") || {
		printf '%s\n' "$answer"
		return 1
	}
	case $answer in
	*'usedns yes'*) ask_sshd "$(peer_name)" ;;
	*) printf '%s\n' "$answer" ;;
	esac
}

locate() {
	account "$name"
	printf 'origin %s\nuid %s\nhome %s\n' "$origin" "$uid" "$home"
	[ "$origin" != absent ] || return 0
	if settings=$(effective); then
		printf '%s\n' "$settings" | grep '^authorizedkeysfile '
	elif [ "$(id -u)" = 0 ]; then
		printf 'unknown %s\n' "$(printf '%s' "$settings" | tr '\n' ' ')"
	fi
}
