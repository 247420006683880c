package provider

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// kinds are the resources that operations apply to, in the order of the table.
var kinds = []string{
	"database_user", "source_grants", "destination_database", "destination_schema", "destination_grants",
	"ssh_user", "ssh_authorized_key", "replication", "sync_run",
}

// siteConfig has one resource of each kind, called LABEL, and others that they depend on or that
// depend on them, called of_something. The operations leave those alone.
const siteConfig = `
resource "stitch_database_user" "LABEL" {
	server              = "ADMIN"
	name                = "ROLE"
	password_wo         = "correct horse battery staple"
	password_wo_version = 1
	LIFECYCLE
}
resource "stitch_source_grants" "of_user" {
	server   = "ADMIN"
	database = "SOURCE"
	user     = stitch_database_user.LABEL.name
	schemas  = ["public"]
}
resource "stitch_source_grants" "LABEL" {
	server   = "ADMIN"
	database = "SOURCE"
	user     = "GRANTEE"
	schemas  = ["billing"]
	LIFECYCLE
}
resource "stitch_destination_database" "LABEL" {
	server = "ADMIN"
	name   = "DATABASE"
	LIFECYCLE
}
resource "stitch_destination_schema" "LABEL" {
	server   = "ADMIN"
	database = "DESTINATION"
	name     = "own"
	LIFECYCLE
}
resource "stitch_destination_grants" "LABEL" {
	server   = "ADMIN"
	database = "DESTINATION"
	user     = "GRANTEE"
	LIFECYCLE
}
resource "stitch_ssh_user" "LABEL" {
	host     = "BASTION"
	username = "ACCOUNT"
	LIFECYCLE
}
resource "stitch_ssh_authorized_key" "LABEL" {
	host       = "BASTION"
	username   = "KEEPER"
	public_key = "PUBLICKEY"
	LIFECYCLE
}
resource "stitch_replication" "LABEL" {
	name        = "Shop"
	source      = { server = "APP", database = "SOURCE" }
	destination = { server = "WAREHOUSE", database = "DESTINATION" }
	tables      = { "public.orders" = { replication_method = "INCREMENTAL", replication_key = "updated_at" } }
	LIFECYCLE
}
resource "stitch_sync_run" "of_replication" {
	replication = stitch_replication.LABEL.id
	triggers    = { definition = stitch_replication.LABEL.revision }
}
resource "stitch_replication" "of_run" {
	name        = "Other"
	source      = { server = "APP", database = "SOURCE" }
	destination = { server = "WAREHOUSE", database = "DESTINATION" }
	tables      = { "public.orders" = { replication_method = "INCREMENTAL", replication_key = "updated_at" } }
}
resource "stitch_sync_run" "LABEL" {
	replication = stitch_replication.of_run.id
	triggers    = { definition = stitch_replication.of_run.revision }
	LIFECYCLE
}
`

// A site is what the resources of one operation work on: its own databases, roles and users, on a
// server and a host that all operations share.
type site struct {
	*workspace
	*pipe
	host             *sandbox.Host
	role, database   string            // to be created
	grantee          string            // an existing role
	account, keeper  string            // a user of the host to be created, and an existing one
	key, fingerprint string            // of the keeper
	second           map[string]string // entries of servers with other logins that have the same privileges
}

// A layout says how siteConfig is written.
type layout struct {
	renamed  []string // kinds with another label
	entries  string   // a prefix for the names of the provider's entries
	second   bool     // the entries with other logins are used
	early    bool     // create_before_destroy
	inModule bool
	more     string // blocks next to the resources
}

func newSite(t *testing.T, s *sandbox.Server, h *sandbox.Host) *site {
	t.Helper()
	_, public := newSSHKey(t)
	parsed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(public))
	if err != nil {
		t.Fatal(err)
	}
	site := &site{
		workspace: newWorkspace(t, ""), pipe: newPipe(t, s), host: h,
		role: s.RoleName(t), grantee: s.Role(t), database: s.DatabaseName(t),
		account: h.UserName(), keeper: h.UserName(), key: public, fingerprint: ssh.FingerprintSHA256(parsed),
	}
	administers, reads, writes := s.Role(t), s.Role(t), s.Role(t)
	s.Exec(t, "postgres", fmt.Sprintf("ALTER ROLE %s SUPERUSER; GRANT %s TO %s; GRANT %s TO %s", administers, site.reader, reads, site.writer, writes))
	site.second = map[string]string{
		"second_admin": login(s, administers, s.Password), "second_app": login(s, reads, s.Password), "second_warehouse": login(s, writes, s.Password),
	}
	h.Exec(t, `useradd --create-home "$1"`, site.keeper)
	t.Cleanup(func() { h.Exec(t, `userdel --remove "$1"; rm -rf "/home/$2"`, site.keeper, site.account) })
	site.configure(t, layout{})
	return site
}

// provider returns the configuration without the resources.
func (s *site) provider(l layout) string {
	servers := map[string]string{
		l.entries + "admin":     administrator(s.Server),
		l.entries + "app":       login(s.Server, s.reader, s.Password),
		l.entries + "warehouse": login(s.Server, s.writer, s.Password),
	}
	maps.Copy(servers, s.second)
	hosts := map[string]string{
		l.entries + "bastion": rootOf(s.host),
		"second_bastion": fmt.Sprintf("{ host = \"localhost\", port = %d, username = %q, private_key = %q, host_key = %q, sudo = true }",
			s.host.Port, sandbox.OperatorName, s.host.OperatorKey, s.host.HostKeys[1]),
	}
	return requiredProviders + sshProviderBlock(hosts, servers) + l.more
}

// configure writes the configuration.
func (s *site) configure(t *testing.T, l layout) {
	t.Helper()
	if !l.inModule {
		s.write(t, "main.tf", s.provider(l)+s.resources(l))
		return
	}
	s.write(t, "main.tf", s.provider(l)+"module \"m\" {\n source = \"./m\"\n}\n")
	if err := os.MkdirAll(filepath.Join(s.dir, "m"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.write(t, "m/main.tf", requiredProviders+s.resources(l))
	s.run(t, "get")
}

func (s *site) resources(l layout) string {
	prefix, lifecycle := l.entries, ""
	if l.second {
		prefix = "second_"
	}
	if l.early {
		lifecycle = "lifecycle { create_before_destroy = true }"
	}
	text := strings.NewReplacer(
		"ADMIN", prefix+"admin", "APP", prefix+"app", "WAREHOUSE", prefix+"warehouse", "BASTION", prefix+"bastion",
		"ROLE", s.role, "GRANTEE", s.grantee, "SOURCE", s.source, "DATABASE", s.database, "DESTINATION", s.destination,
		"ACCOUNT", s.account, "KEEPER", s.keeper, "PUBLICKEY", s.key, "LIFECYCLE", lifecycle,
	).Replace(siteConfig)
	for _, kind := range l.renamed {
		text = strings.NewReplacer(
			fmt.Sprintf("\"stitch_%s\" \"LABEL\"", kind), fmt.Sprintf("\"stitch_%s\" \"renamed\"", kind),
			fmt.Sprintf("stitch_%s.LABEL", kind), fmt.Sprintf("stitch_%s.renamed", kind),
		).Replace(text)
	}
	return strings.ReplaceAll(text, "LABEL", "it")
}

func address(kind string) string { return "stitch_" + kind + ".it" }
func renamed(kind string) string { return "stitch_" + kind + ".renamed" }

// belongings are the resources that belong to a kind.
var belongings = map[string]string{
	"database_user": "stitch_source_grants.of_user", "replication": "stitch_sync_run.of_replication", "sync_run": "stitch_replication.of_run",
}

// importIDs returns the import id of each resource, by address.
func (s *site) importIDs() map[string]string {
	shop, other := joinID("warehouse", s.destination, "shop"), joinID("warehouse", s.destination, "other")
	return map[string]string{
		address("database_user"):        joinID("admin", s.role),
		belongings["database_user"]:     joinID("admin", s.source, s.role),
		address("source_grants"):        joinID("admin", s.source, s.grantee),
		address("destination_database"): joinID("admin", s.database),
		address("destination_schema"):   joinID("admin", s.destination, "own"),
		address("destination_grants"):   joinID("admin", s.destination, s.grantee),
		address("ssh_user"):             joinID("bastion", s.account),
		address("ssh_authorized_key"):   joinID("bastion", s.keeper, s.fingerprint),
		address("replication"):          shop,
		belongings["replication"]:       shop,
		belongings["sync_run"]:          other,
		address("sync_run"):             other,
	}
}

// fill puts data into what holds data.
func (s *site) fill(t *testing.T) {
	t.Helper()
	for database, schema := range map[string]string{s.database: "public", s.destination: "own"} {
		s.Exec(t, database, "CREATE TABLE "+schema+".loaded (id int); INSERT INTO "+schema+".loaded VALUES (1), (2)")
	}
	s.host.Exec(t, `echo precious >"/home/$1/file"`, s.account)
}

// empty removes the tables from a database or a schema.
func (s *site) empty(t *testing.T, kind string) {
	t.Helper()
	switch kind {
	case "destination_database":
		s.Exec(t, s.database, "DROP TABLE IF EXISTS loaded")
	case "destination_schema":
		s.Exec(t, s.destination, "DROP TABLE IF EXISTS own.loaded")
	}
}

// facts are the identity of the object of a resource, empty if it does not exist, and its data.
type facts struct{ object, data string }

// look reads them from the server or the host.
func (s *site) look(t *testing.T, kind string) facts {
	t.Helper()
	switch kind {
	case "database_user":
		return facts{
			s.one(t, "postgres", `SELECT oid FROM pg_roles WHERE rolname = $1`, s.role),
			s.one(t, s.source, `SELECT has_table_privilege(oid, 'public.orders', 'SELECT') FROM pg_roles WHERE rolname = $1`, s.role),
		}
	case "source_grants":
		return facts{object: s.rights(t, s.source)}
	case "destination_grants":
		return facts{object: s.rights(t, s.destination)}
	case "destination_database":
		f := facts{object: s.one(t, "postgres", `SELECT oid FROM pg_database WHERE datname = $1`, s.database)}
		if f.object != "" {
			f.data = s.rows(t, s.database, "public", "loaded")
		}
		return f
	case "destination_schema":
		return facts{s.one(t, s.destination, `SELECT oid FROM pg_namespace WHERE nspname = 'own'`), s.rows(t, s.destination, "own", "loaded")}
	case "ssh_user":
		return facts{
			s.host.Exec(t, `if id -u "$1" >&2; then id -u "$1"; stat -c %U "/home/$1"; fi`, s.account),
			s.host.Exec(t, `if [ -e "/home/$1/file" ]; then stat -c %i "/home/$1/file"; cat "/home/$1/file"; fi`, s.account),
		}
	case "ssh_authorized_key":
		return facts{object: s.host.Exec(t, `if [ -e "/home/$1/.ssh/authorized_keys" ]; then cat "/home/$1/.ssh/authorized_keys"; fi`, s.keeper)}
	case "replication":
		return facts{s.inCatalog(t, `SELECT id FROM _stitch.replication WHERE schema_name = $1`, "shop"), s.rows(t, s.destination, "shop", "orders")}
	default: // sync_run
		return facts{s.inCatalog(t, `
			SELECT run.id
			FROM _stitch.run
			JOIN _stitch.replication ON replication.id = run.replication
			WHERE schema_name = $1
			ORDER BY started_at DESC
			LIMIT 1`, "other"), s.rows(t, s.destination, "other", "orders")}
	}
}

func (s *site) one(t *testing.T, database, sql string, args ...any) string {
	t.Helper()
	return strings.Join(s.Query(t, database, sql, args...), "\n")
}

// rights lists the grantee's privileges.
func (s *site) rights(t *testing.T, database string) string {
	t.Helper()
	return s.one(t, database, `
		WITH acls AS (
			SELECT 'database' AS object, datacl AS acl FROM pg_database WHERE datname = current_database()
			UNION ALL SELECT 'schema ' || nspname, nspacl FROM pg_namespace
			UNION ALL SELECT 'relation ' || relname, relacl FROM pg_class
			UNION ALL SELECT 'default ' || defaclobjtype::text, defaclacl FROM pg_default_acl)
		SELECT object, privilege_type
		FROM acls CROSS JOIN LATERAL aclexplode(acl) AS granted
		WHERE grantee = (SELECT oid FROM pg_roles WHERE rolname = $1)
		ORDER BY 1, 2`, s.grantee)
}

// rows returns the oid of a table that a run or fill has filled, and the rows that came from
// elsewhere.
func (s *site) rows(t *testing.T, database, schema, table string) string {
	t.Helper()
	columns := map[string]string{"orders": "id, total, updated_at", "loaded": "id"}[table]
	return s.one(t, database, `
		SELECT c.oid, query_to_xml(format('SELECT `+columns+` FROM %s ORDER BY id', c.oid::regclass), false, true, '')
		FROM pg_class AS c
		JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2`, schema, table)
}

// checkLoaded checks that what a replication or a run has loaded equals the source.
func (s *site) checkLoaded(t *testing.T, kind string) {
	t.Helper()
	schema, ok := map[string]string{"replication": "shop", "sync_run": "other"}[kind]
	if !ok {
		return
	}
	if err := s.same(t, "public.orders", schema+".orders", "id", "total", "updated_at")(nil); err != nil {
		t.Error(err)
	}
}

func (s *site) inCatalog(t *testing.T, sql, schema string) string {
	t.Helper()
	if s.one(t, s.destination, `SELECT to_regclass('_stitch.run')`) == "∅" {
		return ""
	}
	return s.one(t, s.destination, sql, schema)
}

// said is the output of a Terraform command about each kind, and about what belongs to it.
type said struct {
	failed   bool
	actions  map[string][]string // planned, sorted
	problems map[string][]string // warnings and errors
}

// runTerraform runs a plan or an apply.
func (s *site) runTerraform(t *testing.T, arguments ...string) said {
	t.Helper()
	text, code := s.try(t, append(arguments, "-json")...)
	told := said{failed: code == 1, actions: map[string][]string{}, problems: map[string][]string{}}
	for line := range strings.Lines(text) {
		var m struct {
			message
			Type   string
			Change struct {
				Resource struct{ Addr string }
				Action   string
			}
		}
		if json.Unmarshal([]byte(line), &m) != nil {
			continue // about Terraform's own settings
		}
		switch m.Type {
		case "planned_change":
			kind := kindOf(m.Change.Resource.Addr)
			told.actions[kind] = append(told.actions[kind], m.Change.Action)
			slices.Sort(told.actions[kind])
		case "diagnostic":
			kind := kindOf(m.Diagnostic.Address)
			told.problems[kind] = append(told.problems[kind], m.Diagnostic.Severity+": "+m.Diagnostic.Summary+": "+m.text())
		}
	}
	return told
}

// then combines the output of one command and of the next.
func (s said) then(next said) said {
	for kind, actions := range next.actions {
		s.actions[kind] = slices.Sorted(slices.Values(append(s.actions[kind], actions...)))
	}
	for kind, problems := range next.problems {
		s.problems[kind] = append(s.problems[kind], problems...)
	}
	s.failed = s.failed || next.failed
	return s
}

// kindOf returns the kind of the resource at an address, or the address if the resource belongs to
// one.
func kindOf(address string) string {
	address = strings.TrimPrefix(address, "module.m.")
	typeName, label, _ := strings.Cut(address, ".")
	if strings.HasPrefix(label, "of_") {
		return address
	}
	return strings.TrimPrefix(typeName, "stitch_")
}
