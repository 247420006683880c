package sshclient

import (
	"io"
	"time"
)

func shells(name string, works bool, shell func(*hostShell)) misbehaviour {
	return misbehaviour{name: name, works: works, makes: func(*stage) behaviour { return behaviour{shell: shell} }}
}

// rooted makes a case of a shell, for clients that do not use sudo.
func rooted(name string, works bool, shell func(*hostShell)) misbehaviour {
	m := shells(name, works, shell)
	m.as = "root"
	return m
}

// shellCases are about what a host runs, instead of a shell or as one.
func shellCases() []misbehaviour {
	forced := func(said string, end func(*hostShell)) func(*hostShell) {
		return func(s *hostShell) {
			s.write(said)
			end(s)
		}
	}
	return []misbehaviour{
		rooted("nothing odd", true, (*hostShell).speak),
		rooted("status 0 at once", false, forced("", func(s *hostShell) { s.exit(0) })),
		rooted("status 0, a message", false, forced("use the bastion\n", func(s *hostShell) { s.exit(0) })),
		rooted("status 0, a long message", false, forced(nasty(7<<20), func(s *hostShell) { s.exit(0) })),
		rooted("any status", false, func(s *hostShell) { s.exit(s.host.n(256)) }),
		rooted("a status of 32 bits", false, func(s *hostShell) { s.exit(0xffffffff) }),
		rooted("no status", false, forced(nasty(100), func(*hostShell) {})),
		rooted("a signal", false, func(s *hostShell) { s.signal("KILL", nasty(100_000)) }),
		rooted("an unknown signal", false, func(s *hostShell) { s.signal(nasty(1000), "") }),
		rooted("a status and a signal", false, func(s *hostShell) { s.exit(0); s.signal("KILL", ""); s.exit(1) }),
		rooted("a status that is cut", false, func(s *hostShell) {
			_, _ = s.SendRequest("exit-status", false, make([]byte, s.host.n(4)))
		}),
		waiting(rooted("a status that is cut, and then many requests", false, func(s *hostShell) {
			_, _ = s.SendRequest("exit-status", false, nil)
			for range 200 {
				if _, err := s.SendRequest("xon-xoff", false, []byte{1}); err != nil {
					return
				}
			}
			still(s)
		})),
		waiting(rooted("a signal that is cut, and then many requests", false, func(s *hostShell) {
			_, _ = s.SendRequest("exit-signal", false, []byte{0, 0, 0, 9})
			for range 200 {
				if _, err := s.SendRequest("xon-xoff", false, []byte{1}); err != nil {
					return
				}
			}
			still(s)
		})),
		rooted("many requests", true, func(s *hostShell) {
			s.host.all.Go(func() {
				for range 300 {
					if _, err := s.SendRequest("keepalive@openssh.com", true, nil); err != nil {
						return
					}
				}
			})
			s.speak()
		}),
		rooted("a message before", true, func(s *hostShell) {
			s.write(nasty(s.host.n(60_000)))
			s.complain(nasty(s.host.n(200_000)))
			s.speak()
		}),
		rooted("a long message before", false, func(s *hostShell) { s.write(nasty(100_000)); s.speak() }),
		rooted("a message after", true, func(s *hostShell) { s.login(); s.answer(); s.write(nasty(10_000)); s.exit(0) }),
		rooted("many marks", true, func(s *hostShell) {
			for range s.host.n(100) {
				s.ready()
			}
			s.speak()
		}),
		rooted("byte by byte", true, func(s *hostShell) {
			text := nasty(1000) + ready + "\n"
			for i := range text {
				s.write(text[i : i+1])
			}
			s.answer()
			s.exit(0)
		}),
		waiting(rooted("slow, without end", false, func(s *hostShell) { drip(s, s) })),
		waiting(rooted("slow complaints, without end", false, func(s *hostShell) { drip(s, s.Stderr()) })),
		waiting(rooted("silent", false, func(s *hostShell) { s.hear() })),
		rooted("output without end", false, func(s *hostShell) { s.host.flood(s) }),
		waiting(rooted("complaints without end", false, func(s *hostShell) { s.host.flood(s.Stderr()) })),
		waiting(rooted("asks for the password of sudo unasked", false, func(s *hostShell) {
			for range 1 + s.host.n(3) {
				s.complain(prompt)
			}
			s.hear()
		})),
		{name: "asks for the password of sudo again and again", as: "sudo", asks: true, makes: func(*stage) behaviour {
			return behaviour{shell: func(s *hostShell) {
				for range 100 {
					s.complain(prompt)
				}
				s.hear()
			}}
		}},
		{name: "refuses the password of sudo", as: "sudo", asks: true, makes: func(*stage) behaviour {
			return behaviour{shell: func(s *hostShell) {
				s.complain(prompt)
				_, _ = io.ReadFull(s, make([]byte, len(hostileSudo)+1))
				s.complain(nasty(100_000))
				s.exit(1)
			}}
		}},
		{name: "repeats the password of sudo", as: "sudo", asks: true, makes: func(*stage) behaviour {
			return behaviour{shell: func(s *hostShell) {
				s.complain(prompt)
				_, _ = io.ReadFull(s, make([]byte, len(hostileSudo)+1))
				s.complain("wrong: " + hostileSudo)
				s.write(hostileSudo)
				s.signal(hostileSudo, "")
			}}
		}},
		{name: "repeats the password of sudo in a complaint", as: "sudo", asks: true, makes: func(*stage) behaviour {
			return behaviour{shell: func(s *hostShell) {
				s.login()
				s.program()
				s.begin()
				s.complain(hostileSudo + nasty(100_000) + hostileSudo)
				s.end("1")
				s.exit(0)
			}}
		}},
		{name: "sudo, nothing odd", as: "sudo", works: true, makes: func(*stage) behaviour { return behaviour{} }},
		{name: "sudo ends well, silently", as: "sudo", makes: func(*stage) behaviour {
			return behaviour{shell: func(s *hostShell) { s.exit(0) }}
		}},
		{name: "sudo ends well, complaining", as: "sudo", makes: func(*stage) behaviour {
			return behaviour{shell: func(s *hostShell) { s.complain(nasty(70_000)); s.exit(0) }}
		}},
		rooted("ends after the mark, status 0", false, func(s *hostShell) { s.ready(); s.exit(0) }),
		rooted("ends after the mark, a status that means something", false, func(s *hostShell) { s.ready(); s.exit(80 + s.host.n(7)) }),
		rooted("ends after the mark, no status", false, func(s *hostShell) { s.ready() }),
		waiting(rooted("silent after the mark", false, func(s *hostShell) { s.ready(); s.hear() })),
		waiting(rooted("slow after the mark, without end", false, func(s *hostShell) { s.ready(); s.program(); drip(s, s) })),
		rooted("output after the mark, without end", false, func(s *hostShell) { s.ready(); s.program(); s.begin(); s.host.flood(s) }),
		waiting(rooted("complaints after the mark, without end", false, func(s *hostShell) { s.ready(); s.program(); s.begin(); s.host.flood(s.Stderr()) })),
		rooted("an answer without its end", false, func(s *hostShell) { s.ready(); s.program(); s.begin(); s.write(rightAnswer); s.exit(0) }),
		rooted("an answer without its beginning", false, func(s *hostShell) { s.ready(); s.program(); s.write(rightAnswer); s.end("0"); s.exit(0) }),
		rooted("the end before the beginning", false, func(s *hostShell) { s.ready(); s.program(); s.end("0"); s.begin(); s.exit(0) }),
		rooted("an answer with an odd status", false, func(s *hostShell) {
			s.ready()
			s.program()
			s.begin()
			s.end([]string{"", "x", "1e9", "-1", "99999999999999999999999", nasty(300), "0x0", "256"}[s.host.n(8)])
			s.exit(0)
		}),
		rooted("an answer, and a status of the shell", true, func(s *hostShell) { s.login(); s.answer(); s.exit(3) }),
		rooted("an answer, and no status", true, func(s *hostShell) { s.login(); s.answer() }),
		maybe(waiting(rooted("an answer, and no end of the session", false, func(s *hostShell) { s.login(); s.answer(); s.exit(0); s.hear() }))),
		rooted("fails with a long complaint", false, func(s *hostShell) {
			s.ready()
			s.program()
			s.begin()
			s.end("1")
			s.complain(nasty(200_000))
			s.exit(0)
		}),
		waiting(rooted("does not read", false, func(s *hostShell) { s.ready(); <-s.host.over })),
	}
}

// drip writes a byte now and then until the client is gone.
func drip(s *hostShell, w io.Writer) {
	s.host.all.Go(func() {
		for {
			if _, err := io.WriteString(w, "."); err != nil {
				return
			}
			s.host.pause(50 * time.Millisecond)
		}
	})
	s.hear()
}
