package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

var errNone = &lackError{"PostgreSQL's server programs: install the Debian package postgresql", nil}

// fetchMajors says how to install more majors.
const fetchMajors = "`make postgres` fetches it with npm"

// TestedMajors returns the majors that tests need: the oldest and the newest that the product
// supports, and those between in which behaviour changed.
func TestedMajors() []int { return []int{10, 13, 15, 16, 18} }

// Majors returns the PostgreSQL majors whose server binaries are installed,
// ascending.
func Majors() []int {
	var majors []int
	for _, root := range roots() {
		entries, _ := os.ReadDir(root) // a root that does not exist holds no major
		for _, entry := range entries {
			major, err := strconv.Atoi(entry.Name())
			if err == nil && installed(root, major) {
				majors = append(majors, major)
			}
		}
	}
	slices.Sort(majors)
	return slices.Compact(majors)
}

// binaries returns the major, where 0 means the newest, and the directory of its programs.
func binaries(major int) (int, string, error) {
	majors := Majors()
	if len(majors) == 0 {
		return 0, "", errNone
	}
	if major == 0 {
		major = majors[len(majors)-1]
	}
	for _, root := range roots() {
		if installed(root, major) {
			return major, bin(root, major), nil
		}
	}
	return 0, "", &lackError{fmt.Sprintf("PostgreSQL %d: %s", major, fetchMajors), nil}
}

// roots returns the directories that hold <major>/bin, in order of preference: Debian's packages
// come with psql and pgbench, those of scripts/postgres.sh with the server alone.
func roots() []string {
	roots := []string{"/usr/lib/postgresql"}
	if dir := os.Getenv("STITCH_POSTGRES_DIR"); dir != "" {
		roots = []string{dir, "/usr/lib/postgresql"}
	}
	if cache, err := cacheDir(); err == nil {
		roots = append(roots, filepath.Join(cache, "postgres"))
	}
	return roots
}

// cacheDir returns where scripts put what they download or build once.
func cacheDir() (string, error) {
	cache := "/var/cache"
	if os.Geteuid() != 0 {
		var err error
		if cache, err = os.UserCacheDir(); err != nil {
			return "", err
		}
	}
	return filepath.Join(cache, "terraform-provider-stitch"), nil
}

func installed(root string, major int) bool {
	for _, name := range []string{"initdb", "postgres"} {
		if !executable(filepath.Join(bin(root, major), name)) {
			return false
		}
	}
	return true
}

func bin(root string, major int) string {
	return filepath.Join(root, strconv.Itoa(major), "bin")
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
