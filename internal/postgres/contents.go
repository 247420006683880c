package postgres

import "fmt"

// A ContentsError says that something was not dropped because of what it holds.
type ContentsError struct{ Objects []string }

// refuseContents returns a ContentsError unless there are no objects.
func refuseContents(objects []string) error {
	if len(objects) == 0 {
		return nil
	}
	return &ContentsError{Objects: objects}
}

func (e *ContentsError) Error() string {
	return "this would be lost with it:" + e.List() +
		"\nMove away what is still needed. To drop it with all that it holds, set force_destroy = true and apply that alone; " +
		"then destroy it, or make the change that replaces it, again."
}

// listed is how many items an error names.
const listed = 20

// first returns as many items as an error names.
func first(items []string) []string { return items[:min(len(items), listed)] }

// List names the objects, one a line.
func (e *ContentsError) List() string { return list(e.Objects) }

// list writes the first items one a line and counts the rest.
func list(items []string) string {
	text := ""
	for _, item := range first(items) {
		text += "\n  " + item
	}
	if rest := len(items) - listed; rest > 0 {
		text += fmt.Sprintf("\n  and %d more", rest)
	}
	return text
}
