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

// oneLine is a text that others had a part in, such as a name, where one line is
// to be shown: in the summary of a diagnostic, in a log.
func oneLine(text string) string { return escape(shorten(text, summaryBytes), "") }

// paragraphs is such a text as the detail of a diagnostic. Its lines stay lines,
// but begin with blanks, as those of Terraform never do: what a server says can not
// pass for another diagnostic, or for the end of an apply.
func paragraphs(text string) string {
	text = strings.NewReplacer("\r\n", "\n", "\t", "    ").Replace(shorten(text, detailBytes))
	return indent(escape(text, "\n"))
}

// asValue is such a text as an attribute that is there to be read by people.
// Terraform quotes a string, but prints one of several lines as it is.
func asValue(text string) string {
	text = shorten(text, detailBytes)
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !isShown(r) && r != '\n' && r != '\t' }) {
		return escape(text, "")
	}
	return text
}

// escape writes characters that a terminal would obey or not show, except those
// that are kept, as Go and Terraform write them: \x1b, \u202e.
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

// isShown reports whether a character is seen and does nothing else. Of blanks,
// only the one of ASCII is: others, and joiners, make names look alike that are not.
func isShown(r rune) bool {
	return strconv.IsPrint(r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
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

// indent puts a margin before each line, and breaks those that are too wide: for a
// terminal would go on at its own margin, and so would Terraform, which leaves alone
// what is indented. Only a word is never broken.
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
			case column+1+wide > columns:
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
