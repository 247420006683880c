package provider

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestOneLine(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"plain", `public.orders: "a" \x1b`, `public.orders: "a" \x1b`},
		{"other scripts", "日本 Ünï سلام עברית é é 👍", "日本 Ünï سلام עברית é é 👍"},
		{"every control character", controls(0x00, 0x20), `\x00\x01\x02\x03\x04\x05\x06\a\b\t\n\v\f\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f`},
		{"delete", "a\x7f", `a\x7f`},
		{"of one character", "\u0080\u0085\u009b2J\u009f", `\u0080\u0085\u009b2J\u009f`},
		{"of one byte", "\x9b2J\x85", `\x9b2J\x85`},
		{"bytes that are no text", "a\xff\xc3(\xe2\x82\xed\xa0\x80", `a\xff\xc3(\xe2\x82\xed\xa0\x80`},
		{"the character for such bytes", "\ufffd", "\ufffd"},
		{"directions", "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", `\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069`},
		{"other ends of lines", "\u2028\u2029", `\u2028\u2029`},
		{"no width", "\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e\u034f\u115f\u3164\uffa0", `\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e\u034f\u115f\u3164\uffa0`},
		{"variants", "\ufe0f\U000e0100", `\ufe0f\U000e0100`},
		{"tags", "\U000e0001\U000e0041\U000e007f", `\U000e0001\U000e0041\U000e007f`},
		{"other blanks", "a\u00a0b\u2003c\u3000d\u1680", `a\u00a0b\u2003c\u3000d\u1680`},
		{"of private use, or unassigned", "\ue000\U000f0000\uffff", `\ue000\U000f0000\uffff`},
	} {
		if got := oneLine(tt.text); got != tt.want {
			t.Errorf("%s: %q becomes\n%s, not\n%s", tt.name, tt.text, got, tt.want)
		}
	}
}

func controls(from, to byte) string {
	var b strings.Builder
	for c := from; c < to; c++ {
		b.WriteByte(c)
	}
	return b.String()
}

func TestParagraphs(t *testing.T) {
	word := strings.Repeat("w", 100)
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"one line", "drop it", "  drop it"},
		{"lines stay lines", "one\n\ntwo\n", "  one\n\n  two\n"},
		{"what looks like Terraform", "no\n\nError: no\nApply complete!", "  no\n\n  Error: no\n  Apply complete!"},
		{"lines of other systems", "one\r\ntwo\rthree", "  one\n  two\\rthree"},
		{"a tab", "a\tb", "  a    b"},
		{"an indented list", "of these:\n  a\n  b", "  of these:\n    a\n    b"},
		{"blanks alone", "a\n   \nb", "  a\n\n  b"},
		{"a wide line", strings.Repeat("four ", 15) + "next", "  " + strings.Repeat("four ", 14) + "four\n  next"},
		{"exactly as wide as it may be", strings.Repeat("four ", 15) + "x", "  " + strings.Repeat("four ", 15) + "x"},
		{"one column more", strings.Repeat("four ", 15) + "xy", "  " + strings.Repeat("four ", 14) + "four\n  xy"},
		{"a wide word", "a " + word + " b", "  a " + word + "\n  b"},
		{"a wide line that is indented", "  " + strings.Repeat("four ", 15), "    " + strings.Repeat("four ", 14) + "four\n    "},
		{"one that is deep", strings.Repeat(" ", 1000) + "a " + word, "          a " + word},
		{"characters, not bytes", strings.Repeat("äöüß ", 15) + "x", "  " + strings.Repeat("äöüß ", 15) + "x"},
		{"columns, not characters", strings.Repeat("日本 ", 15) + "xy", "  " + strings.Repeat("日本 ", 14) + "日本\n  xy"},
	} {
		if got := paragraphs(tt.text); got != tt.want {
			t.Errorf("%s: %q becomes\n%q, not\n%q", tt.name, tt.text, got, tt.want)
		}
	}
}

func TestShorten(t *testing.T) {
	for _, tt := range []struct {
		text  string
		limit int
		want  string
	}{
		{"abcdef", 6, "abcdef"},
		{"abcdefg", 6, "abc [1 bytes left out] efg"},
		{"日本語日本語", 10, "日 [12 bytes left out] 語"},
		{strings.Repeat("\x80", 20), 8, "\x80 [18 bytes left out] \x80"},
	} {
		if got := shorten(tt.text, tt.limit); got != tt.want {
			t.Errorf("%q within %d bytes is %q, not %q", tt.text, tt.limit, got, tt.want)
		}
	}
	if got := paragraphs("begin " + strings.Repeat("\x1b", 10<<20) + " end"); len(got) > 5*detailBytes ||
		!strings.HasPrefix(got, `  begin \x1b`) || !strings.HasSuffix(got, "\n  end") || !strings.Contains(got, "bytes left out]") {
		t.Errorf("10 MB become %d bytes: %.80q ... %q", len(got), got, got[len(got)-80:])
	}
}

func TestAsValue(t *testing.T) {
	for text, want := range map[string]string{
		"":               "",
		"one\n\ttwo":     "one\n\ttwo", // unchanged: Terraform indents what it prints
		"one\ntwo\x1b":   `one\ntwo\x1b`,
		"one\ntwo\u202e": `one\ntwo\u202e`,
		"one\ntwo\xff":   `one\ntwo\xff`,
	} {
		if got := asValue(text); got != want {
			t.Errorf("%q becomes %q, not %q", text, got, want)
		}
	}
}

func FuzzTerminal(f *testing.F) {
	for _, seed := range []string{"", "plain text", forged, "\x9b\xff", "a\r\nb\rc", "\u2028\u00a0\U000e0041", strings.Repeat("wide ", 40), "  indented\n\n\nx"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		line, detail, value := oneLine(text), paragraphs(text), asValue(text)
		for _, shown := range []string{line, detail, value} {
			if found := unfit(shown); found != nil || !utf8.ValidString(shown) {
				t.Errorf("%q becomes %q, which holds %q", text, shown, found)
			}
		}
		if strings.ContainsAny(line, "\n\t") {
			t.Errorf("oneLine(%q) has several lines", text)
		}
		for _, l := range strings.Split(detail, "\n") {
			narrow := slices.DeleteFunc(strings.Split(l, " "), func(word string) bool { return widthOf(word) > columns-len(margin)-deepest })
			if l != "" && !strings.HasPrefix(l, margin) || widthOf(strings.Join(narrow, " ")) > columns {
				t.Errorf("paragraphs(%q) has the line %q, which is not indented, or too wide", text, l)
			}
		}
		if again := escape(line, ""); again != line {
			t.Errorf("escaped again, %q is %q", line, again)
		}
		plain := strings.Map(func(r rune) rune {
			if ' ' <= r && r <= '~' {
				return r
			}
			return -1
		}, text)
		if len(plain) <= summaryBytes && oneLine(plain) != plain {
			t.Errorf("plain text became %q", oneLine(plain))
		}
		if words := strings.Fields(plain); len(plain) <= detailBytes && strings.Join(strings.Fields(paragraphs(plain)), " ") != strings.Join(words, " ") {
			t.Errorf("the words of %q became %q", plain, paragraphs(plain))
		}
	})
}
