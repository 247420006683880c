package linux

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// keyFindings are about the line of the key in question.
func keyFindings(c Check, f checkFacts) []Finding {
	fingerprint := c.PublicKey.Fingerprint()
	where := f.keysFile
	if where == "" {
		where = "authorized_keys"
	}
	switch {
	case f.keyError != nil:
		return []Finding{{
			Summary: "The keys of the user were not checked",
			Detail:  f.keyError.Error() + ".",
			Remedy:  "It is not known whether the key " + fingerprint + " allows a tunnel.",
		}}
	case f.key == nil:
		return []Finding{{
			Summary: fmt.Sprintf("The key %s is not in %s", fingerprint, where),
			Detail:  "Unless sshd finds the key elsewhere, its owner cannot log in with it.",
			Remedy:  "Add it with stitch_ssh_authorized_key.",
			Blocks:  f.sshd.Known && f.sshd.is("authorizedkeyscommand", "none"),
		}}
	}
	at := fmt.Sprintf("Line %d of %s. ", f.key.number, where)
	var all []Finding
	block := func(summary, detail, remedy string) {
		all = append(all, Finding{Summary: summary, Detail: at + detail, Remedy: remedy, Blocks: true})
	}
	if err := CheckOptions(f.key.options); err != nil {
		block("sshd ignores the line that holds the key", "sshd ignores a line for one bad option: "+err.Error()+".", "Correct the options.")
	}
	if types := algorithms(f.sshd); len(types) > 0 && !slices.ContainsFunc(signatures(f.key.key.Type), func(name string) bool { return slices.Contains(types, name) }) {
		block("sshd accepts no keys of type "+f.key.key.Type, "PubkeyAcceptedAlgorithms does not list it.", "Use a key of another type, such as ssh-ed25519.")
	}
	o := effectiveOptions(f.key.options)
	if !o.forwarding {
		block("The options of the key forbid tunnels", "restrict and no-port-forwarding forbid them, unless port-forwarding follows.", "Add the option port-forwarding.")
	}
	if target := net.JoinHostPort(c.Host, strconv.Itoa(c.Port)); c.Host != "" && len(o.permitOpen) > 0 && !permits(o.permitOpen, c.Host, c.Port) {
		block("The options of the key do not allow a tunnel to "+target,
			"permitopen lists "+sshclient.Shorten(strings.Join(o.permitOpen, " "))+". sshd compares hosts literally: localhost is not 127.0.0.1.",
			fmt.Sprintf("Add the option permitopen=%q.", target))
	}
	if o.from != "" && f.peer != "" && !matchAddresses(o.from, f.peer) {
		all = append(all, Finding{
			Summary: "The options of the key do not accept it from this machine",
			Detail:  at + fmt.Sprintf("The option from is %q, and the host sees this machine as %s.", o.from, f.peer),
			Remedy:  "Add that address, unless tunnels are opened from another machine, or the option names this machine and sshd resolves names (UseDNS).",
			Blocks:  !hasHostNames(o.from),
		})
	}
	if expired(o.expiry, time.Now()) {
		block("The key has expired", "The option expiry-time is "+o.expiry+".", "Set a later expiry-time.")
	}
	if o.authority {
		block("The key is that of a certificate authority", "With the option cert-authority, sshd accepts certificates that this key signed, but not the key itself.", "Log in with such a certificate, or remove the option.")
	}
	return all
}

// keyOptions are the options of a line, combined as sshd combines them.
type keyOptions struct {
	forwarding bool
	permitOpen []string
	from       string
	expiry     string
	authority  bool
}

func effectiveOptions(options []string) keyOptions {
	o := keyOptions{forwarding: true}
	for _, option := range options {
		name, value, _, err := splitOption(option)
		if err != nil {
			continue
		}
		switch name {
		case "restrict", "no-port-forwarding":
			o.forwarding = false
		case "port-forwarding":
			o.forwarding = true
		case "permitopen":
			o.permitOpen = append(o.permitOpen, value)
		case "from":
			o.from = value
		case "expiry-time":
			o.expiry = value
		case "cert-authority":
			o.authority = true
		}
	}
	return o
}

// expired allows for one day of uncertainty about the host's time zone; within that day, sshd
// decides.
func expired(text string, now time.Time) bool {
	digits := strings.TrimSuffix(text, "Z")
	doubt := 24 * time.Hour
	if digits != text {
		doubt = 0
	}
	if len(digits) < 8 {
		return false
	}
	at, err := time.Parse("20060102150405", digits+"000000"[:max(0, 14-len(digits))])
	return err == nil && at.Add(doubt).Before(now)
}

// algorithms are the signature algorithms that sshd accepts; older releases call them key types.
func algorithms(s SSHD) []string {
	for _, setting := range []string{"pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes"} {
		if list := s.words(setting); len(list) > 0 {
			return strings.Split(list[0], ",")
		}
	}
	return nil
}

// signatures are the algorithms with which a key of a type signs.
func signatures(keyType string) []string {
	if keyType == "ssh-rsa" {
		return []string{"rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"}
	}
	return []string{keyType}
}
