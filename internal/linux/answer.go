package linux

import (
	"fmt"
	"slices"
	"strings"
)

// maxAnswer is how long an answer of facts may be. A user has some hundred bytes
// of them, sshd some thousand, but its lists of users may be long.
const maxAnswer = 1 << 20

// parseFacts reads the lines "KEY VALUE" of an answer, of the keys that are asked
// for. The last of several lines of a key counts.
func parseFacts(answer []byte, keys ...string) (map[string]string, error) {
	if len(answer) > maxAnswer {
		return nil, fmt.Errorf("the host's answer has %d bytes, which is too long for one: %.200q", len(answer), answer)
	}
	facts := map[string]string{}
	for line := range strings.Lines(string(answer)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if slices.Contains(keys, key) {
			facts[key] = value
		}
	}
	return facts, nil
}

// maxFact is how long a fact may be: Linux knows no longer path.
const maxFact = 4096

// checkFact refuses what could be neither shown nor sent back.
func checkFact(what, text string) error {
	if len(text) > maxFact || strings.ContainsFunc(text, unprintable) {
		return fmt.Errorf("the host's answer is not understood: the %s is %.200q", what, text)
	}
	return nil
}

func notUnderstood(answer []byte) error {
	return fmt.Errorf("the host's answer is not understood: %.200q. What runs as a shell on it may print something of its own", answer)
}
