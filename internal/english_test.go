package internal

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// unwelcome are phrases, as regular expressions, that must not appear anywhere in the tree, each
// with what to write instead.
var unwelcome = []struct{ words, instead string }{
	{`can not`, "cannot"},
	{`anew`, "again"},
	{`in good order`, "cleanly"},
	{`(did|does) not go as usual`, "what happened, such as: completed with warnings"},
	{`that one used to`, "that used to be"},
	{`tells? beforehand`, "checks in advance"},
}

// unwelcomeInDocs are phrases that must not appear in what users read. Most hide who does what.
var unwelcomeInDocs = append(slices.Clip(unwelcome), []struct{ words, instead string }{
	{`(some|no|every)body`, "who it is, such as: another role, every role, PUBLIC; or the passive"},
	{`whoever`, "anyone who"},
	{`found out`, "detected, guessed"},
	{`beforehand`, "in advance"},
	{`what passes`, "transient errors"},
	{`meanwhile`, "while it did what"},
	{`beside`, "next to, in addition to"},
	{`besides`, "other, also"},
	{`(is|are) to (be|have|get|ask|depend)`, "must, will, should"},
	{`told (apart|from|by|to)`, "distinguished, reported, configured"},
	{`look(s|ed)? through`, "scan"},
	{`(has|have|had) no more`, "no longer has"},
	{`stands? before`, "is in front of"},
	{`a say in`, "affects"},
	{`(and|or) (the|their|its) like`, "and similar ones"},
}...)

// Every text in the tree reads as plain English.
func TestEnglish(t *testing.T) {
	names := written(t)
	if len(names) < 300 {
		t.Fatalf("only %d files: is this the whole tree?", len(names))
	}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		phrases := unwelcome
		if isDocs(name) {
			phrases = unwelcomeInDocs
		}
		for _, phrase := range phrases {
			for _, line := range lines(string(text), phrase.words) {
				t.Errorf("%s:%d: %q: write %s", name, line, phrase.words, phrase.instead)
			}
		}
	}
}

func TestLines(t *testing.T) {
	for _, test := range []struct {
		text, words string
		want        []int
	}{
		{"It can not be,\nand Can not.", `can not`, []int{1, 2}},
		{"- It can\n  not be.", `can not`, []int{1}},
		{"It cannot. Toucan not.", `can not`, nil},
		{"a newt", `anew`, nil},
	} {
		if got := lines(test.text, test.words); !slices.Equal(got, test.want) {
			t.Errorf("%q in %q: lines %v, want %v", test.words, test.text, got, test.want)
		}
	}
}

// lines returns the numbers of the lines in which words begin, in lower case or upper case, on
// one line or across several.
func lines(text, words string) (numbers []int) {
	pattern := regexp.MustCompile(`(?i)\b` + strings.ReplaceAll(words, " ", `\s+`) + `\b`)
	for _, at := range pattern.FindAllStringIndex(text, -1) {
		numbers = append(numbers, 1+strings.Count(text[:at[0]], "\n"))
	}
	return numbers
}

// written lists the files of the tree that people wrote, and docs/, except this file.
func written(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		name, _ := filepath.Rel("..", path)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{".git", ".terraform", "bin", "dist", "testdata"}, entry.Name()):
			return fs.SkipDir
		case entry.IsDir() || name == "internal/english_test.go":
		case slices.Contains([]string{".go", ".md", ".tmpl", ".tf", ".sql", ".sh", ".yml"}, filepath.Ext(name)), name == "GNUmakefile", name == ".ci/run":
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// isDocs reports whether users read a file.
func isDocs(name string) bool {
	return filepath.Ext(name) == ".md" || strings.HasPrefix(name, "templates/") || strings.HasPrefix(name, "examples/")
}
