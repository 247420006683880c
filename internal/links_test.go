package internal

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading      = regexp.MustCompile(`(?m)^#+ (.+)$`)
	anchor       = regexp.MustCompile(`<a id="([^"]+)">`)
	unanchored   = regexp.MustCompile(`[^a-z0-9 _-]`) // the characters that GitHub and the registry leave out of a heading's anchor
)

// Links between the pages of the documentation lead to an existing page, and to an existing
// heading.
func TestLinks(t *testing.T) {
	checked := 0
	for _, name := range written(t) {
		if filepath.Ext(name) != ".md" || strings.HasPrefix(name, "templates/") { // templates have the links of docs/
			continue
		}
		for _, link := range markdownLink.FindAllStringSubmatch(page(t, name), -1) {
			path, fragment, _ := strings.Cut(link[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			checked++
			target := name
			if path != "" {
				target = filepath.Join(filepath.Dir(name), path)
			}
			if _, err := os.Stat(filepath.Join("..", target)); err != nil {
				t.Errorf("%s: %s: there is no such file", name, link[1])
			} else if fragment != "" && !slices.Contains(anchors(page(t, target)), fragment) {
				t.Errorf("%s: %s: there is no such heading", name, link[1])
			}
		}
	}
	if checked < 40 {
		t.Errorf("only %d links were found", checked)
	}
}

// anchors lists the anchors in a page that a link may name.
func anchors(text string) (names []string) {
	for _, match := range heading.FindAllStringSubmatch(text, -1) {
		plain := unanchored.ReplaceAllString(strings.ToLower(match[1]), "")
		names = append(names, strings.ReplaceAll(plain, " ", "-"))
	}
	for _, match := range anchor.FindAllStringSubmatch(text, -1) {
		names = append(names, match[1])
	}
	return names
}

func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
