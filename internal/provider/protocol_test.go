package provider

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-log/tflogtest"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// forged is a name or a message that clears the screen, returns to the beginning of the line, rings
// the bell, begins a control sequence with one character, reverses the direction of writing, holds
// an invisible character, and has a separate line that looks like Terraform's.
const forged = forgedLine + "\nApply complete!"

// forgedLine has no line break: Terraform itself prints unchanged a string of several lines in a
// configuration.
const forgedLine = "\x1b[2J\x1b[H\r\a\u009b31m\u202e\u200b"

// unfit returns the characters of a text that a terminal would obey or not show.
func unfit(text string) (found []string) {
	for i, r := range text {
		_, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			found = append(found, fmt.Sprintf("byte %#x at %d", text[i], i))
		case r == '\n', r == '\t':
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp):
			found = append(found, fmt.Sprintf("%U at %d: %q", r, i, text[max(0, i-60):min(len(text), i+60)]))
		}
	}
	return found
}

// quoted returns a string for a configuration, in printable ASCII.
func quoted(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '"', r == '\\':
			b.WriteString(`\` + string(r))
		case ' ' <= r && r <= '~':
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return `"` + b.String() + `"`
}

// saidIn collects the text for people in an answer of the protocol.
func saidIn(answer reflect.Value) (texts []string) {
	for i := range answer.NumField() {
		switch field := answer.Field(i).Interface().(type) {
		case []*tfprotov6.Diagnostic:
			for _, d := range field {
				texts = append(texts, d.Summary, d.Detail)
			}
		case *tfprotov6.FunctionError:
			if field != nil {
				texts = append(texts, field.Text)
			}
		case string:
			texts = append(texts, field)
		}
	}
	return texts
}

// Each method of the protocol makes its answer fit for a terminal, and does nothing else.
func TestProtocolServer(t *testing.T) {
	source, err := os.ReadFile("protocol.go")
	if err != nil {
		t.Fatal(err)
	}
	protocol := reflect.TypeFor[tfprotov6.ProviderServer]()
	for i := range protocol.NumMethod() {
		name := protocol.Method(i).Name
		if !regexp.MustCompile(`func \(s protocolServer\) ` + name + `\([^{]*\{\n\treturn call\(ctx, s\.next\.` + name + `, req\)\n\}\n`).Match(source) {
			t.Errorf("%s does not pass through call", name)
		}
	}
}

// The text for people of each answer is in a form that fitAnswer knows.
func TestFitAnswer(t *testing.T) {
	protocol := reflect.TypeFor[tfprotov6.ProviderServer]()
	for i := range protocol.NumMethod() {
		answer := reflect.New(protocol.Method(i).Type.Out(0).Elem())
		diagnostic := &tfprotov6.Diagnostic{Severity: tfprotov6.DiagnosticSeverityWarning, Summary: forged, Detail: forged}
		for _, said := range []any{[]*tfprotov6.Diagnostic{diagnostic, nil}, &tfprotov6.FunctionError{Text: forged}, forged} {
			for j := range answer.Elem().NumField() {
				if field := answer.Elem().Field(j); field.Type() == reflect.TypeOf(said) {
					field.Set(reflect.ValueOf(said))
				}
			}
		}
		fitAnswer(answer.Interface())
		texts := saidIn(answer.Elem())
		if len(texts) == 0 {
			t.Errorf("%s has no known form of text", answer.Type())
		}
		for _, text := range texts {
			if text != oneLine(forged) && text != paragraphs(forged) {
				t.Errorf("%s says %q", answer.Type(), text)
			}
		}
		if diagnostic.Summary != forged {
			t.Errorf("%s: what the framework has was changed", answer.Type())
		}
	}
}

// A method that panics answers with an error, and the log says where the panic happened.
func TestPanic(t *testing.T) {
	server := reflect.ValueOf(protocolServer{struct{ tfprotov6.ProviderServer }{}}) // each of its methods panics
	protocol := reflect.TypeFor[tfprotov6.ProviderServer]()
	for i := range protocol.NumMethod() {
		method := protocol.Method(i)
		var log bytes.Buffer
		ctx := tflogtest.RootLogger(t.Context(), &log)
		results := server.MethodByName(method.Name).Call([]reflect.Value{reflect.ValueOf(ctx), reflect.New(method.Type.In(1).Elem())})
		if !results[1].IsNil() {
			t.Errorf("%s: %v", method.Name, results[1])
		}
		if said := strings.Join(strings.Fields(strings.Join(saidIn(results[0].Elem()), " ")), " "); !strings.Contains(said, "The provider failed") || !strings.Contains(said, "nil pointer") || unfit(said) != nil {
			t.Errorf("%s says %q", method.Name, said)
		}
		entries, err := tflogtest.MultilineJSONDecode(&log)
		if err != nil || len(entries) != 1 || entries[0]["@level"] != "error" || !strings.Contains(fmt.Sprint(entries[0]["stack"]), "protocol.go") {
			t.Errorf("%s: the log has %q (%v)", method.Name, entries, err)
		}
	}
}

// A log entry is one line, and there is no other way to the log or to Terraform.
func TestOneWayOut(t *testing.T) {
	var log bytes.Buffer
	ctx := tflogtest.RootLogger(t.Context(), &log)
	newLogger().With("run", "r1").WithGroup("of").WarnContext(ctx, forged,
		"table", forged, "rows", 1, "reason", errors.New(forged), "took", time.Second, slog.Group("at", "side", forged))
	entries, err := tflogtest.MultilineJSONDecode(&log)
	if err != nil || len(entries) != 1 {
		t.Fatalf("the log has %q (%v)", entries, err)
	}
	for name, want := range map[string]any{
		"@message": oneLine(forged), "@level": "warn", "run": "r1", "of.table": oneLine(forged), "of.rows": 1.0, "of.reason": oneLine(forged), "of.took": "1s", "of.at.side": oneLine(forged),
	} {
		if entries[0][name] != want {
			t.Errorf("%s is %q, want %q", name, entries[0][name], want)
		}
	}
	for _, way := range []string{"terraform-plugin-log", "terraform-plugin-framework/providerserver"} {
		for _, name := range productFiles(t) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), way) && filepath.Base(name) != "protocol.go" {
				t.Errorf("%s uses %s: only protocol.go does", name, way)
			}
		}
	}
}

// productFiles are the files of the program, as opposed to tests and tools.
func productFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	if len(files) < 10 {
		t.Fatalf("only %q", files)
	}
	return append(files, "../../main.go")
}

// A terminal is a workspace whose output and most detailed log are checked.
type terminal struct{ *workspace }

func newTerminal(t *testing.T, config string) terminal {
	t.Helper()
	w := newWorkspace(t, requiredProviders+config)
	w.env = append(w.env, "TF_LOG=TRACE", "TF_LOG_PATH="+filepath.Join(w.dir, "log"))
	return terminal{w}
}

// shows runs terraform, which must end with a code, and returns its output. The output contains
// nothing that a terminal would obey, and matches a pattern.
func (w terminal) shows(t *testing.T, code int, pattern *regexp.Regexp, arguments ...string) string {
	t.Helper()
	log := filepath.Join(w.dir, "log")
	if err := os.RemoveAll(log); err != nil {
		t.Fatal(err)
	}
	output, got := w.try(t, arguments...)
	if got != code || !pattern.MatchString(output) {
		t.Errorf("terraform %s: exit code %d, expected %d and %q:\n%q", strings.Join(arguments, " "), got, code, pattern, output)
	}
	if found := unfit(output); found != nil {
		t.Errorf("terraform %s printed %d of them, the first %s", strings.Join(arguments, " "), len(found), found[0])
	}
	if code != 0 && strings.Contains(output, "\nApply complete!") {
		t.Errorf("what failed looks complete:\n%s", output)
	}
	text, err := os.ReadFile(log)
	if err != nil || len(text) == 0 {
		t.Fatalf("no log: %v", err)
	}
	if found := unfit(string(text)); found != nil {
		t.Errorf("the log of terraform %s has %d of them, the first %s", strings.Join(arguments, " "), len(found), found[0])
	}
	return output
}

// escaped matches the beginning of forged as it must be shown: quoted once more where Terraform
// prints a value.
var escaped = regexp.MustCompile(`\\+x1b\[2J\\+x1b\[H\\+r\\+a\\+u009b31m\\+u202e\\+u200b`)

// Roles that may create objects, at the source or at the destination, choose their names.
func TestAccTerminal_names(t *testing.T) {
	s := sandbox.Shared(t, 0)
	t.Run("tables and columns", func(t *testing.T) {
		t.Parallel()
		p := newPipe(t, s)
		p.atSource(t, `CREATE TABLE "x`+forged+`" (id int PRIMARY KEY, "c`+forged+`" text);
			GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+p.reader)
		tables := func(selection string) string {
			return `tables = { ` + quoted("public.x"+forged) + ` = { ` + selection + ` } }`
		}
		full := tables(`replication_method = "FULL_TABLE"`)
		w := newTerminal(t, p.runConfig(tables(`replication_method = "INCREMENTAL", replication_key = "nope"`), "1"))
		w.shows(t, 1, escaped, "plan")
		w.write(t, "main.tf", requiredProviders+p.runConfig(full, "1"))
		w.shows(t, 0, escaped, "apply", "-auto-approve")
		p.atSource(t, `ALTER TABLE "x`+forged+`" ADD COLUMN "d`+forged+`" int`)
		w.write(t, "main.tf", requiredProviders+p.runConfig(full, "2"))
		w.shows(t, 0, says("found tables whose structure has changed"), "apply", "-auto-approve")
		p.atSource(t, `REVOKE ALL ON "x`+forged+`" FROM `+p.reader)
		w.write(t, "main.tf", requiredProviders+p.runConfig(full, "3"))
		w.shows(t, 1, says("permission denied for table x"), "apply", "-auto-approve")
	})
	t.Run("schemas and grants", func(t *testing.T) {
		t.Parallel()
		p := newPipe(t, s)
		p.atSource(t, `CREATE SCHEMA "s`+forgedLine+`"; CREATE TABLE "s`+forgedLine+`"."t`+forged+`" (id int)`)
		w := newTerminal(t, providerBlock(map[string]string{"app": administrator(s)})+fmt.Sprintf(`
			resource "stitch_source_grants" "shop" {
				server   = "app"
				database = %q
				user     = %q
				schemas  = [%s]
			}`, p.source, p.reader, quoted("s"+forgedLine)))
		w.shows(t, 0, regexp.MustCompile("1 added"), "apply", "-auto-approve")
		p.atSource(t, `REVOKE ALL ON "s`+forgedLine+`"."t`+forged+`" FROM `+p.reader+`; GRANT USAGE ON SCHEMA "s`+forgedLine+`" TO `+p.reader+` WITH GRANT OPTION`)
		w.shows(t, 0, regexp.MustCompile(`(?s)excess .*`+escaped.String()+`.*missing .*`+escaped.String()), "plan")
	})
	t.Run("what would be lost", func(t *testing.T) {
		t.Parallel()
		database := s.DatabaseName(t)
		w := newTerminal(t, providerBlock(map[string]string{"warehouse": administrator(s)})+fmt.Sprintf(`
			resource "stitch_destination_database" "warehouse" {
				server = "warehouse"
				name   = %q
			}`, database))
		w.shows(t, 0, regexp.MustCompile("1 added"), "apply", "-auto-approve")
		s.Exec(t, database, `CREATE SCHEMA "s`+forged+`"; CREATE TABLE "s`+forged+`"."t`+forged+`" (id int)`)
		w.shows(t, 1, escaped, "destroy", "-auto-approve")
	})
	t.Run("what a user owns", func(t *testing.T) {
		t.Parallel()
		database, role := s.Database(t), s.RoleName(t)
		w := newTerminal(t, providerBlock(map[string]string{"warehouse": administrator(s)})+fmt.Sprintf(`
			resource "stitch_database_user" "stitch" {
				server              = "warehouse"
				name                = %q
				password_wo         = "secret"
				password_wo_version = 1
			}`, role))
		w.shows(t, 0, regexp.MustCompile("1 added"), "apply", "-auto-approve")
		s.Exec(t, database, `CREATE SCHEMA "s`+forged+`" AUTHORIZATION `+role)
		w.shows(t, 1, escaped, "destroy", "-auto-approve")
	})
	t.Run("databases and roles", func(t *testing.T) {
		t.Parallel()
		p := newPipe(t, s)
		s.Exec(t, "postgres", `ALTER ROLE `+p.reader+` RENAME TO "`+p.reader+forged+`"`)
		t.Cleanup(func() { s.Exec(t, "postgres", `ALTER ROLE "`+p.reader+forged+`" RENAME TO `+p.reader) })
		w := newTerminal(t, strings.NewReplacer(
			fmt.Sprintf("username = %q", p.reader), "username = "+quoted(p.reader+forged),
			fmt.Sprintf("database = %q }\n\t\t\tdestination", p.source), "database = "+quoted("d"+forgedLine)+" }\n\t\t\tdestination",
		).Replace(p.runConfig(twoTables, "1")))
		w.shows(t, 0, escaped, "plan") // with a warning
		w.shows(t, 1, escaped, "apply", "-auto-approve")
	})
}

// The server, and the functions of views, choose their messages.
func TestAccTerminal_messages(t *testing.T) {
	t.Parallel()
	p := newPipe(t, sandbox.Shared(t, 0))
	p.atSource(t, `
		CREATE FUNCTION raise() RETURNS int LANGUAGE plpgsql AS $f$
		BEGIN
			RAISE NOTICE 'notice `+forged+`';
			RAISE WARNING 'warning `+forged+`';
			RAISE EXCEPTION 'message `+forged+`' USING DETAIL = 'detail `+forged+`', HINT = 'hint `+forged+`';
		END $f$;
		CREATE FUNCTION raise_much() RETURNS int LANGUAGE plpgsql AS $f$
		BEGIN
			RAISE EXCEPTION 'begin % end', repeat('much ', 30000);
		END $f$;
		CREATE VIEW raising AS SELECT raise() AS id;
		CREATE VIEW raising_much AS SELECT raise_much() AS id;
		GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+p.reader)
	w := newTerminal(t, p.runConfig(`tables = {
		"public.raising"      = { replication_method = "FULL_TABLE" }
		"public.raising_much" = { replication_method = "FULL_TABLE" }
	}`, "1"))
	e := escaped.String()
	output := w.shows(t, 1, regexp.MustCompile(`(?s)message `+e+`\n +Apply.*Detail: detail `+e+`\n +Apply.*Hint: hint `+e+`\n +Apply`), "apply", "-auto-approve")
	if !regexp.MustCompile(`(?s)begin\s+much.*\d+\s+(more\s+)?bytes`).MatchString(output) || len(output) > 30<<10 {
		t.Errorf("a message of 150 KB is shown in %d bytes:\n%.5000s", len(output), output)
	}
}

// Banners, shells and programs choose what they write.
func TestAccTerminal_programs(t *testing.T) {
	t.Parallel()
	h := sandbox.SSHHost(t, sandbox.HostConfig{Settings: []string{"Banner /etc/forged"}})
	h.Exec(t, `
		printf '%s' "$1" >/etc/forged
		printf '#!/bin/sh\ncat /etc/forged; cat /etc/forged >&2; exit 1\n' >/bin/forge
		chmod 755 /bin/forge
		usermod -s /bin/forge operator`, forged)
	w := newTerminal(t, sshProviderBlock(
		map[string]string{"bastion": sshLogin(h, sandbox.OperatorName, h.OperatorKey)}, nil)+`
		resource "stitch_ssh_user" "stitch" {
			host     = "bastion"
			username = "stitch"
		}
		data "stitch_ssh_check" "bastion" {
			host = "bastion"
		}`)
	w.shows(t, 0, escaped, "plan") // with a warning
	w.shows(t, 1, escaped, "apply", "-auto-approve")

	s := sandbox.Shared(t, 0)
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nprintf '%s' '"+forged+"' >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.write(t, "main.tf", requiredProviders+checkConfig(
		fmt.Sprintf("{ host = %q, port = %d, username = %q, password_command = [%q] }", s.Host, s.Port, s.Username, program), ""))
	w.shows(t, 1, escaped, "plan")
}
