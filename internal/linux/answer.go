package linux

import (
	"fmt"
	"slices"
	"strings"
)

// maxAnswer is the longest answer of facts that is accepted. The facts of a user take some hundred
// bytes and those of sshd some thousand, but sshd's lists of users may be long.
const maxAnswer = 1 << 20

// parseFacts reads those lines "KEY VALUE" of an answer whose keys are asked for. Of several lines
// with the same key, the last counts.
func parseFacts(answer []byte, keys ...string) (map[string]string, error) {
	if len(answer) > maxAnswer {
		return nil, fmt.Errorf("the host's answer has %d bytes, which is too long: %.200q", len(answer), answer)
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

// maxFact is the longest fact that is accepted: Linux has no longer paths.
const maxFact = 4096

// checkFact refuses text that could neither be shown nor be sent back.
func checkFact(what, text string) error {
	if len(text) > maxFact || strings.ContainsFunc(text, unprintable) {
		return fmt.Errorf("cannot parse the host's answer: the %s is %.200q", what, text)
	}
	return nil
}

func notUnderstood(answer []byte) error {
	return fmt.Errorf("cannot parse the host's answer: %.200q. A startup file of the shell on this host may print text of its own", answer)
}
