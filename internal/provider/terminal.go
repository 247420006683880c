package provider

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

const (
	summaryBytes = 1 << 10 // of a text that are shown
	detailBytes  = 8 << 10
	columns      = 78 // that a line has, with its margin: Terraform takes two of 80
	margin       = "  "
	deepest      = 8 // columns that a list may be indented by
)

// oneLine prepares text for people for where one line is shown: in the summary of a
// diagnostic, in a log. The text may hold names and messages of others.
func oneLine(text string) string { return escape(shorten(text, summaryBytes), "") }

// paragraphs prepares such text for the detail of a diagnostic. Its lines stay lines,
// but begin with blanks, as those that Terraform ends an apply or begins a
// diagnostic with do not: the words of a server cannot pass for one of these.
func paragraphs(text string) string {
	text = strings.NewReplacer("\r\n", "\n", "\t", "    ").Replace(shorten(text, detailBytes))
	return indent(escape(text, "\n"))
}

// asValue prepares such text for an attribute that people read. Terraform quotes a
// string of one line, but prints one of several lines unchanged.
func asValue(text string) string {
	text = shorten(text, detailBytes)
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !isShown(r) && r != '\n' && r != '\t' }) {
		return escape(text, "")
	}
	return text
}

// escape writes characters that a terminal would obey or not show, except kept ones,
// as Go and Terraform do: \x1b, \u202e.
func escape(text, kept string) string {
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case isShown(r), strings.ContainsRune(kept, r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		text = text[size:]
	}
	return b.String()
}

// isShown reports whether a character is visible and has no other effect. The only
// blank that counts as visible is ASCII's: other ones, and joiners, make different
// names look alike.
func isShown(r rune) bool {
	return strconv.IsPrint(r) && (r <= unicode.MaxASCII || !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector))
}

// shorten cuts a text in the middle: what was attempted is at its beginning, and
// what to do at its end.
func shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	head, tail := text[:limit/2], text[len(text)-limit/2:]
	for i := 1; i < utf8.UTFMax && !utf8.RuneStart(text[len(head)]); i++ {
		head = head[:len(head)-1]
	}
	for i := 1; i < utf8.UTFMax && !utf8.RuneStart(tail[0]); i++ {
		tail = tail[1:]
	}
	return fmt.Sprintf("%s [%d bytes left out] %s", head, len(text)-len(head)-len(tail), tail)
}

// indent puts a margin before each line, and wraps lines that are too wide: a
// terminal would continue them at its own margin, and so would Terraform, which does
// not wrap lines that are indented. A word that is wider than a line stays where it
// is, for it would not fit elsewhere, and could be meant to be copied.
func indent(text string) string {
	var b strings.Builder
	for i, line := range strings.Split(text, "\n") {
		if i > 0 {
			b.WriteByte('\n')
		}
		words := strings.TrimLeft(line, " ")
		if words == "" {
			continue
		}
		lead := margin + line[:min(len(line)-len(words), deepest)]
		b.WriteString(lead)
		column := len(lead)
		for j, word := range strings.Split(words, " ") {
			wide := widthOf(word)
			switch {
			case j == 0:
			case column+1+wide > columns && len(lead)+wide <= columns:
				b.WriteString("\n" + lead)
				column = len(lead)
			default:
				b.WriteByte(' ')
				column++
			}
			b.WriteString(word)
			column += wide
		}
	}
	return b.String()
}

// widthOf is how many columns of a terminal a word takes.
func widthOf(word string) (columns int) {
	for _, r := range word {
		switch width.LookupRune(r).Kind() {
		case width.EastAsianWide, width.EastAsianFullwidth:
			columns += 2
		default:
			columns++
		}
	}
	return columns
}
