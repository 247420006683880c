package definition

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// The replication methods that can be chosen.
const (
	FullTable   = "FULL_TABLE"
	Incremental = "INCREMENTAL"
	LogBased    = "LOG_BASED" // named by Stitch, refused by Check
)

// A Definition says what is replicated, from where to where.
type Definition struct {
	Name                      string               `json:"name"`
	SchemaName                string               `json:"schema_name"`
	Source                    Endpoint             `json:"source"`
	Destination               Endpoint             `json:"destination"`
	IncludeSchemaInTableNames bool                 `json:"include_schema_in_table_names"`
	Tables                    map[string]Selection `json:"tables"` // by schema.table, as relation.ParseTableName reads it
	// Readers are the roles that may read what is loaded. Nil means that the definition does not
	// set them, as opposed to an empty list.
	Readers []string `json:"readers,omitzero"`
	// LateCommitWindow is how long after its replication key was assigned a row may be committed
	// and still be found; nil is DefaultLateCommitWindow. With a window of zero, rows are
	// extracted by their key alone.
	LateCommitWindow *time.Duration `json:"late_commit_window,omitempty"`
	// MaxSnapshotMinutes bounds how long a run may hold a snapshot of the source; 0 sets no
	// bound.
	MaxSnapshotMinutes int64 `json:"max_snapshot_minutes,omitempty"`
	// AcceptSourceIdentity is the system identifier of a cluster that may replace the one that
	// earlier runs read.
	AcceptSourceIdentity string `json:"accept_source_identity,omitempty"`
	// SourceChanges counts how often the source was found to lead to another database than
	// before. The name of its server's entry does not tell.
	SourceChanges int `json:"source_changes,omitempty"`
}

// DefaultLateCommitWindow is longer than transactions usually take.
const DefaultLateCommitWindow = 24 * time.Hour

// Late is how late a row may be committed.
func (d Definition) Late() time.Duration {
	if d.LateCommitWindow == nil {
		return DefaultLateCommitWindow
	}
	return *d.LateCommitWindow
}

// MaxSnapshot is how long a run may hold a snapshot of the source; 0 means without a bound.
func (d Definition) MaxSnapshot() time.Duration {
	return time.Duration(d.MaxSnapshotMinutes) * time.Minute
}

// An Endpoint is a database of a server of the provider block.
type Endpoint struct {
	Server   string `json:"server"`
	Database string `json:"database"`
}

// A Selection says how one table is replicated. A nil list is not set, as opposed to an empty
// one.
type Selection struct {
	Method            string   `json:"replication_method"`
	ReplicationKey    string   `json:"replication_key,omitempty"`
	Columns           []string `json:"columns"`         // nil: all
	ExcludeColumns    []string `json:"exclude_columns"` // nil: none
	TableName         string   `json:"table_name,omitempty"`
	ViewKeyProperties []string `json:"view_key_properties"`
}

// Revision is a hash of all that changes rows at the destination. It includes whether the
// source is another database than before, but not the entries of the provider block that lead
// to source and destination, nor who reads the rows.
func (d Definition) Revision() string {
	d.Name, d.Source.Server, d.Destination.Server, d.LateCommitWindow, d.MaxSnapshotMinutes, d.Readers = "", "", "", nil, 0, nil
	tables := map[string]Selection{}
	for _, key := range d.Keys() {
		tables[CanonicalKey(key)] = d.Tables[key]
	}
	d.Tables = tables
	text, err := json.Marshal(d) // map keys are sorted
	if err != nil {
		panic(err) // strings, lists and maps of them cannot fail
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// CanonicalKey writes a table's key in the one form that all equivalent keys share.
func CanonicalKey(key string) string {
	name, err := relation.ParseTableName(key)
	if err != nil {
		return key
	}
	return name.String()
}

// TableNameOf returns the name that the table with the given key has in the destination.
func (d Definition) TableNameOf(key string) (string, error) {
	source, err := relation.ParseTableName(key)
	if err != nil {
		return "", err
	}
	switch selection := d.Tables[key]; {
	case selection.TableName != "":
		return selection.TableName, nil
	case d.IncludeSchemaInTableNames:
		return source.Schema + "__" + source.Name, nil
	}
	return source.Name, nil
}

// TableNames returns the names that the tables have in the destination.
func (d Definition) TableNames() (names []string) {
	for _, key := range d.Keys() {
		if name, err := d.TableNameOf(key); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// Keys returns the keys of the tables, sorted.
func (d Definition) Keys() []string { return slices.Sorted(maps.Keys(d.Tables)) }

// RefuseCluster returns why runs refuse a source in another cluster than the one that earlier
// runs read, or nil if they accept it.
func (d Definition) RefuseCluster(now, before string) error {
	if before == "" || now == "" || now == before || now == d.AcceptSourceIdentity {
		return nil
	}
	return fmt.Errorf("the source %q of server %q is in the cluster with the system identifier %s, but earlier runs read from cluster %s: "+
		"the cluster was restored, upgraded or replaced. To replicate all tables from it again, set accept_source_identity = %q",
		d.Source.Database, d.Source.Server, now, before, now)
}

// maxSchemaNameBytes is Stitch's limit, exclusive.
const maxSchemaNameBytes = 50

var dropped = regexp.MustCompile(`[^a-z0-9_$]`)

// SchemaNameOf derives the name of the destination schema from the display name
// of a replication, as Stitch does: "Shop PostgreSQL" becomes shop_postgresql.
func SchemaNameOf(displayName string) (string, error) {
	name := strings.NewReplacer(" ", "_", "\t", "_", "-", "_").Replace(strings.ToLower(displayName))
	name = dropped.ReplaceAllString(name, "")
	if name != "" && name[0] >= '0' && name[0] <= '9' {
		name = "_" + name
	}
	if err := CheckSchemaName(name); err != nil {
		return "", fmt.Errorf("cannot derive a schema name from the name %q: %w. Choose another name, or set schema_name", displayName, err)
	}
	return name, nil
}

var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_$]*$`)

// CheckSchemaName refuses names that a replication's schema must not have.
func CheckSchemaName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%q is empty", name)
	case !schemaName.MatchString(name):
		return fmt.Errorf("%q must consist of lower-case letters, digits, _ and $, and start with a letter or _", name)
	case len(name) >= maxSchemaNameBytes:
		return fmt.Errorf("%q has %d characters, but must have fewer than %d", name, len(name), maxSchemaNameBytes)
	case strings.HasPrefix(name, "pg_"), name == "_stitch", name == "public", name == "information_schema":
		return fmt.Errorf("%q is reserved", name)
	}
	return nil
}
