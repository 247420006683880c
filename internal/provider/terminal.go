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
	summaryBytes = 1 << 10 // the most that is shown of a text
	detailBytes  = 8 << 10
	columns      = 78 // of a line, including its margin: Terraform takes two of 80
	margin       = "  "
	deepest      = 8 // the most columns that a list may be indented by
)

// oneLine prepares text for people for a place that shows one line: the summary of a diagnostic, or
// a log. The text may hold names and messages from outside the provider.
func oneLine(text string) string { return escape(shorten(text, summaryBytes), "") }

// paragraphs prepares such text for the detail of a diagnostic. Its lines stay lines, but begin
// with blanks. The lines with which Terraform ends an apply or begins a diagnostic do not, so a
// server's message cannot be taken for one of these.
func paragraphs(text string) string {
	text = strings.NewReplacer("\r\n", "\n", "\t", "    ").Replace(shorten(text, detailBytes))
	return indent(escape(text, "\n"))
}

// asValue prepares such text for an attribute that people read. Terraform quotes a string of one
// line, but prints a string of several lines unchanged.
func asValue(text string) string {
	text = shorten(text, detailBytes)
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !isShown(r) && r != '\n' && r != '\t' }) {
		return escape(text, "")
	}
	return text
}

// escape replaces characters that a terminal would obey or not show, except the kept ones, by the
// escapes of Go and Terraform: \x1b, \u202e.
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

// isShown reports whether a character is visible and has no other effect. ASCII's blank is the only
// one that counts as visible: other blanks, and joiners, make different names look alike.
func isShown(r rune) bool {
	return strconv.IsPrint(r) && (r <= unicode.MaxASCII || !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector))
}

// shorten cuts a text in the middle: its beginning says what was attempted, and its end says what
// to do.
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

// indent puts a margin before each line, and wraps lines that are too wide: a terminal would
// continue them at its own margin, and so would Terraform, which does not wrap indented lines. A
// word that is wider than a line stays where it is: it would not fit on another line either, and
// the user may want to copy it.
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

// widthOf returns how many columns of a terminal a word takes.
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
