# Says where the home directory of $name is, and where sshd looks for its keys.

# effective prints the settings of sshd as they apply to $name, if root asks.
effective() {
	sshd=$(command -v sshd) || sshd=/usr/sbin/sshd
	[ -x "$sshd" ] || {
		printf 'there is no program sshd\n'
		return 1
	}
	"$sshd" -T -C "user=$name,host=$peer,addr=$peer,laddr=$local_address,lport=$local_port" 2>&1
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
