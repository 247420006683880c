package linux

import (
	"strings"
	"testing"
)

// optionCases are options and a part of the error, or "" if there is none.
var optionCases = map[string]string{
	`restrict`:                                   "",
	`Restrict`:                                   "",
	`port-forwarding`:                            "",
	`no-port-forwarding`:                         "",
	`X11-forwarding`:                             "",
	`no-x11-forwarding`:                          "",
	`agent-forwarding`:                           "",
	`no-pty`:                                     "",
	`user-rc`:                                    "",
	`no-touch-required`:                          "",
	`verify-required`:                            "",
	`no-verify-required`:                         "",
	`permitopen="127.0.0.1:5432"`:                "",
	`permitopen="db.example.com:*"`:              "",
	`permitopen="[::1]:5432"`:                    "",
	`permitlisten="8080"`:                        "",
	`permitlisten="*:8080"`:                      "",
	`permitlisten="localhost:*"`:                 "",
	`from="127.0.0.0/8,!10.0.0.1,*.example.com"`: "",
	`from="127.0.0.1,::1,10.?.0.*,fd00::/8"`:     "",
	`command="/bin/echo \"hi\" 'there', you"`:    "",
	`environment="LANG=C"`:                       "",
	`environment="EMPTY="`:                       "",
	`expiry-time="20991231"`:                     "",
	`expiry-time="209912312359"`:                 "",
	`expiry-time="20991231235959"`:               "",
	`tunnel="any"`:                               "",
	`tunnel="0"`:                                 "",

	``:                                    "empty",
	`shell`:                               "does not know this option",
	`no-restrict`:                         "does not know this option",
	`no-command="x"`:                      "does not know this option",
	` restrict`:                           "does not know this option",
	`restrict,pty`:                        "does not know this option",
	`restrict pty`:                        "does not know this option",
	`restrict="yes"`:                      "takes no value",
	`permitopen`:                          "needs a value",
	`permitopen=127.0.0.1:5432`:           "in double quotes",
	`permitopen="127.0.0.1:5432`:          "closing quote",
	`permitopen="127.0.0.1:5432\"`:        "closing quote",
	`permitopen="127.0.0.1:5432",pty`:     "text follows the closing quote",
	`permitopen="127.0.0.1:5432" x`:       "text follows the closing quote",
	`permitopen="127.0.0.1"`:              "not a port",
	`permitopen="127.0.0.1:0"`:            "not a port",
	`permitopen="127.0.0.1:65536"`:        "not a port",
	`permitopen=":5432"`:                  "names no host",
	`permitopen="::1:5432"`:               "names no host",
	`permitopen="fd00::1:5432"`:           "brackets",
	`permitopen="[db]:5432"`:              "brackets",
	`permitopen="*.example.com:5432"`:     "literally",
	`permitopen="a b:5432"`:               "is not a host",
	`permitlisten="none"`:                 "not a port",
	`from="127.0.0.1/8"`:                  "127.0.0.0/8",
	`from="10.0.0.0/33"`:                  "not a network",
	`from="10.0.0.0/8, 192.168.0.0/16"`:   "not a network",
	`from="a.example.com, b.example.com"`: "neither",
	`from=""`:                             "neither",
	`from="!10.0.0.1"`:                    "only excludes",
	`environment="1-2=x"`:                 "of the form",
	`environment="LANG"`:                  "of the form",
	`expiry-time="tomorrow"`:              "of the form",
	`expiry-time="20991331"`:              "of the form",
	`expiry-time="2099-12-31"`:            "of the form",
	`tunnel="x"`:                          "neither",
	`tunnel="-1"`:                         "neither",
	"command=\"a\nssh-ed25519 AAAA\"":     "line break",
	"command=\"a\x00b\"":                  "control character",
	"command=\"\xff\"":                    "not UTF-8 text",
	"restrict\r":                          "line break",
}

func TestCheckOptions(t *testing.T) {
	for option, want := range optionCases {
		err := CheckOptions([]string{option})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", option, err, want)
		}
	}
	for name, tt := range map[string]struct {
		options []string
		problem string
	}{
		"several":              {options: []string{"restrict", "port-forwarding", `permitopen="a:1"`, `permitopen="b:1"`}},
		"twice":                {options: []string{"pty", "PTY"}, problem: "twice"},
		"two commands":         {options: []string{`command="a"`, `command="b"`}, problem: "twice"},
		"contradiction":        {options: []string{"pty", "no-pty"}, problem: "contradict"},
		"principals":           {options: []string{`principals="a"`}, problem: "cert-authority"},
		"authority":            {options: []string{"cert-authority", `principals="a,b"`}},
		"principals of nobody": {options: []string{"cert-authority", `principals=","`}, problem: "no principal"},
	} {
		err := CheckOptions(tt.options)
		if tt.problem == "" && err != nil || tt.problem != "" && (err == nil || !strings.Contains(err.Error(), tt.problem)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSameOptions(t *testing.T) {
	for name, tt := range map[string]struct {
		want []string
		have string
		same bool
	}{
		"none":                     {nil, "", true},
		"same":                     {[]string{"restrict", "port-forwarding"}, "restrict,port-forwarding", true},
		"another order":            {[]string{"pty", `from="a"`}, `from="a",pty`, true},
		"upper case":               {[]string{"X11-forwarding"}, "x11-Forwarding", true},
		"restrict comes first":     {[]string{"port-forwarding", "restrict"}, "restrict,port-forwarding", true},
		"restrict takes back":      {[]string{"restrict", "port-forwarding"}, "port-forwarding,restrict", false},
		"what restrict leaves":     {[]string{"restrict"}, "port-forwarding,restrict", true},
		"one more":                 {[]string{"restrict"}, "restrict,pty", false},
		"one less":                 {[]string{"restrict", "pty"}, "restrict", false},
		"upper case of a value":    {[]string{`command="A"`}, `command="a"`, false},
		"comma in quotes":          {[]string{`from="a,b"`}, `from="a,b"`, true},
		"quote in quotes":          {[]string{`command="a\",\"b"`}, `command="a\",\"b"`, true},
		"what sshd does not know":  {[]string{"restrict"}, "restrict,nonsense", false},
		"several values, order":    {[]string{`permitopen="a:1"`, `permitopen="b:1"`}, `permitopen="b:1",permitopen="a:1"`, true},
		"another value":            {[]string{`permitopen="a:1"`}, `permitopen="a:2"`, false},
		"options but none are set": {nil, "pty", false},
	} {
		if got := SameOptions(tt.want, splitOptions(tt.have)); got != tt.same {
			t.Errorf("%s: %t", name, got)
		}
	}
}
