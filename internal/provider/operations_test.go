package provider

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// An operation is something that a user does to resources: a row of the table in
// templates/guides/changes.md.
type operation struct {
	name     string // of the subtest
	does     string // as in the table
	planned  string // actions for each resource, sorted
	isFirst  bool   // nothing was applied before
	atOnce   bool   // on all resources, including those for which it is refused
	carryOut func(t *testing.T, s *site, chosen []string) said
	outcomes [7]outcome // by column
}

// tableColumns are the columns of the table: the resources of a column behave alike.
var tableColumns = [7][]string{
	{"database_user"}, {"source_grants", "destination_grants"}, {"destination_database", "destination_schema"},
	{"ssh_user"}, {"ssh_authorized_key"}, {"replication"}, {"sync_run"},
}

// An outcome is what an operation does to a resource: a cell of the table. Unless it says
// otherwise, the object stays the same; what the object holds always does.
type outcome struct {
	says    string
	planned string // if it differs from that of the operation
	becomes fate
	warns   string
	// refused is the text of the error. The resource and its object stay as they were, unless the
	// operation may also succeed. Where the tables are the reason, the test removes them, and
	// everything else then holds.
	refused    string
	maySucceed bool
	forTables  bool
	repaired   string // what the next plan proposes, for it or what belongs to it; then all is well
}

type fate int

const (
	staysSame fate = iota
	becomesNew
	becomesEither // the same or a new one
)

var (
	kept       = outcome{says: "kept"}
	inPlace    = outcome{says: "in place; kept"}
	granted    = outcome{says: "replaced; the rights stay"}
	tables     = outcome{says: "refused while it holds tables, else replaced", refused: "table", forTables: true, becomes: becomesNew}
	sameUser   = outcome{says: "replaced; uid and home stay"}
	sameKey    = outcome{says: "replaced; the line stays"}
	loadsAgain = outcome{says: "replaced; its tables stay and are loaded again", becomes: becomesNew}
	runsAgain  = outcome{says: "runs again", becomes: becomesNew}
	keptUser   = outcome{says: "kept while it has rights, else replaced"}
	created    = outcome{says: "created", becomes: becomesNew}
)

// operations are the rows. An operation does not name what belongs to a resource (see siteConfig),
// which stays where it is.
var operations = []operation{
	{
		name: "renamed", does: "rename its label, with a `moved` block", planned: "move", carryOut: rename,
		outcomes: [7]outcome{kept, kept, kept, kept, kept, kept, kept},
	},
	{
		name: "renamed_without_moved", does: "rename its label, without one", planned: "create delete", carryOut: renameWithoutMoved,
		outcomes: [7]outcome{
			{says: "refused while it has rights, else kept or replaced", refused: "already exists"},
			{says: "the rights stay"},
			{says: "refused while it holds tables, else kept or replaced", refused: "table", forTables: true, becomes: becomesEither},
			{says: "kept, or refused if its home holds files", refused: "holds \"file\"", maySucceed: true},
			{says: "the line stays"},
			{says: "refused, or replaced; its tables stay", refused: "recorded runs", maySucceed: true, becomes: becomesEither},
			runsAgain,
		},
	},
	{
		name: "module", does: "move it into a module, or out of it, with a `moved` block", planned: "move move", carryOut: moveThroughModule,
		outcomes: [7]outcome{kept, kept, kept, kept, kept, kept, kept},
	},
	{
		name: "imported", does: "move it to another state by `removed` or `terraform state rm`, and `import`", planned: "import import remove", carryOut: importElsewhere,
		outcomes: [7]outcome{
			{says: "kept; its password is set again", planned: "remove update update"}, kept, kept, kept, kept, kept,
			{says: "runs again", planned: "remove update update", becomes: becomesNew},
		},
	},
	{
		name: "state_mv", does: "move it to another state by `terraform state mv`", carryOut: moveState,
		outcomes: [7]outcome{kept, kept, kept, kept, kept, kept, kept},
	},
	{
		name: "tainted", does: "`terraform taint`", planned: "replace", carryOut: taint,
		outcomes: [7]outcome{keptUser, granted, tables, sameUser, sameKey, loadsAgain, runsAgain},
	},
	{
		name: "replaced", does: "`apply -replace`", planned: "replace", carryOut: replace,
		outcomes: [7]outcome{keptUser, granted, tables, sameUser, sameKey, loadsAgain, runsAgain},
	},
	{
		name: "destroyed", does: "`destroy -target`, then `apply`", planned: "create delete", carryOut: destroyAndApply,
		outcomes: [7]outcome{{says: "a new one, with its grants", becomes: becomesNew}, granted, tables, sameUser, sameKey, loadsAgain, runsAgain},
	},
	{
		name: "targeted", does: "`apply -target`, as the first apply", planned: "create", isFirst: true, carryOut: applyTargets,
		outcomes: [7]outcome{
			{says: "created", becomes: becomesNew, repaired: "create"}, created, created, created, created,
			{says: "created; does not run", becomes: becomesNew, repaired: "create"}, {says: "runs, its replication is created", becomes: becomesNew},
		},
	},
	{
		name: "created_before_destroyed", does: "`create_before_destroy` and a replacement", planned: "replace", carryOut: replaceEarly,
		outcomes: [7]outcome{
			{says: "refused while it has rights, else kept", refused: "already exists"},
			granted,
			{says: "refused while it holds tables, else kept", refused: "table", forTables: true, warns: "was adopted"},
			{says: "refused if its home holds files, else kept", refused: "already exists"},
			{says: "kept", warns: "was adopted"},
			{says: "refused", refused: "create_before_destroy"},
			runsAgain,
		},
	},
	{
		name: "entry_renamed", does: "rename the entry of its server or host", planned: "update",
		carryOut: func(t *testing.T, s *site, _ []string) said {
			s.configure(t, layout{entries: "other_"})
			return s.apply(t)
		},
		outcomes: [7]outcome{inPlace, inPlace, inPlace, inPlace, inPlace, inPlace, {says: "in place; does not run"}},
	},
	{
		name: "other_login", does: "use another entry, with another login for the same server or host", planned: "update",
		carryOut: func(t *testing.T, s *site, _ []string) said {
			s.configure(t, layout{second: true})
			return s.apply(t)
		},
		outcomes: [7]outcome{inPlace, inPlace, inPlace, inPlace, inPlace, inPlace, {says: "in place; does not run"}},
	},
	{
		name: "two_states", does: "apply the same configuration in a second workspace or state, and destroy it there", planned: "create", atOnce: true, carryOut: applyTwice,
		outcomes: [7]outcome{
			{says: "refused while it has rights; kept", refused: "import {"},
			{says: "shared; the destroy takes the rights, the next apply here grants them", planned: "create delete", repaired: "update"},
			{says: "refused while it holds tables; kept", refused: "import {"},
			{says: "refused if its home holds files; kept", refused: "import {"},
			{says: "adopted; the destroy takes the line, the next apply here writes it", planned: "create delete", warns: "was adopted", repaired: "create"},
			{says: "refused; kept", refused: "import {"},
			{says: "does not run, for its replication is refused"},
		},
	},
}

// groups are the kinds that the operation applies to together: first those that hold tables, then
// those for which it is refused for other reasons, then, once the tables are gone, all others.
func (o operation) groups() (groups [3][]string) {
	for _, kind := range kinds {
		switch outcome := o.outcome(kind); {
		case o.atOnce || outcome.refused == "":
			groups[2] = append(groups[2], kind)
		case outcome.forTables:
			groups[0], groups[2] = append(groups[0], kind), append(groups[2], kind)
		default:
			groups[1] = append(groups[1], kind)
		}
	}
	return groups
}

func (o operation) outcome(kind string) outcome {
	i := slices.IndexFunc(tableColumns[:], func(kinds []string) bool { return slices.Contains(kinds, kind) })
	outcome := o.outcomes[i]
	if outcome.planned == "" {
		outcome.planned = o.planned
	}
	return outcome
}

// For each kind of resource, whatever a user does to it has the outcome in the guide's table.
func TestAccOperations(t *testing.T) {
	server := sandbox.Shared(t, 0)
	host := sandbox.SharedSSHHost(t, sandbox.HostConfig{Sudo: sandbox.SudoNoPassword})
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, server, host)
			if !o.isFirst {
				s.run(t, "apply", "-auto-approve")
				s.fill(t)
			}
			before, wrong := o.runGroups(t, s)
			o.planAgain(t, s, before, wrong)
			for _, kind := range kinds {
				t.Run(kind, func(t *testing.T) {
					for _, but := range wrong[kind] {
						t.Errorf("%q, but %s", o.outcome(kind).says, but)
					}
					s.checkLoaded(t, kind)
				})
				s.empty(t, kind)
			}
			s.run(t, "destroy", "-auto-approve")
			for _, kind := range kinds {
				if left := s.look(t, kind).object; left != "" {
					t.Errorf("destroy leaves of %s: %s", kind, left)
				}
			}
		})
	}
}

// runGroups does the operation, and returns what existed before and, for each kind, what differs
// from the table.
func (o operation) runGroups(t *testing.T, s *site) (before map[string]facts, wrong map[string][]string) {
	t.Helper()
	before, wrong = map[string]facts{}, map[string][]string{}
	for i, group := range o.groups() {
		if len(group) == 0 {
			continue
		}
		isLast := i == 2
		for _, kind := range group {
			if isLast && o.outcome(kind).forTables {
				s.empty(t, kind)
			}
			before[kind] = s.look(t, kind)
		}
		told := o.carryOut(t, s, group)
		if isLast && !o.atOnce && told.failed {
			t.Errorf("%q fails:\n%s", group, strings.Join(told.problems[""], "\n"))
		}
		for _, kind := range group {
			want := o.outcome(kind)
			switch {
			case !isLast || o.atOnce && want.refused != "":
				wrong[kind] = append(wrong[kind], want.checkRefused(told, kind, before[kind], s.look(t, kind))...)
			case want.repaired != "":
				wrong[kind] = append(wrong[kind], want.checkTold(told, kind)...)
			default:
				wrong[kind] = slices.Concat(wrong[kind], want.checkTold(told, kind), want.check(before[kind], s.look(t, kind)))
			}
		}
	}
	return before, wrong
}

// planAgain checks that the next plan is empty, except where the table calls for another apply.
func (o operation) planAgain(t *testing.T, s *site, before map[string]facts, wrong map[string][]string) {
	t.Helper()
	again := s.runTerraform(t, "plan")
	for _, kind := range kinds {
		if got := strings.Join(slices.Concat(again.actions[kind], again.actions[belongings[kind]]), " "); got != o.outcome(kind).repaired {
			wrong[kind] = append(wrong[kind], fmt.Sprintf("the plan after proposes %q: %s", got, strings.Join(again.problems[kind], "\n")))
		}
	}
	if !slices.ContainsFunc(o.outcomes[:], func(o outcome) bool { return o.repaired != "" }) {
		return
	}
	s.run(t, "apply", "-auto-approve")
	for _, kind := range kinds {
		if want := o.outcome(kind); want.repaired != "" {
			wrong[kind] = append(wrong[kind], want.check(before[kind], s.look(t, kind))...)
		}
	}
	if again := s.runTerraform(t, "plan"); again.failed || len(again.actions) > 0 {
		t.Errorf("the plan after that proposes %q", again.actions)
	}
}

func (o outcome) checkTold(told said, kind string) (wrong []string) {
	problems := strings.Join(told.problems[kind], "\n")
	if got := strings.Join(told.actions[kind], " "); got != o.planned {
		wrong = append(wrong, fmt.Sprintf("planned is %q, not %q", got, o.planned))
	}
	if strings.Contains(problems, "error: ") || !strings.Contains(problems, o.warns) {
		wrong = append(wrong, fmt.Sprintf("not with the warning %q: %s", o.warns, problems))
	}
	return wrong
}

func (o outcome) checkRefused(told said, kind string, before, after facts) (wrong []string) {
	problems := strings.Join(told.problems[kind], "\n")
	if !strings.Contains(problems, "error: ") && o.maySucceed {
		return append(o.checkTold(told, kind), o.check(before, after)...)
	}
	problems += "\n" + strings.Join(told.problems[""], "\n") // for deletions, Terraform gives no address
	if !strings.Contains(problems, "error: ") || !strings.Contains(problems, o.refused) {
		wrong = append(wrong, fmt.Sprintf("not with the error %q: %s", o.refused, problems))
	}
	if after != before {
		wrong = append(wrong, fmt.Sprintf("refused, %+v became %+v", before, after))
	}
	return wrong
}

func (o outcome) check(before, after facts) (wrong []string) {
	switch {
	case after.object == "", o.becomes == staysSame && after.object != before.object, o.becomes == becomesNew && after.object == before.object:
		wrong = append(wrong, fmt.Sprintf("object %q became %q", before.object, after.object))
	case before.object != "" && after.data != before.data:
		wrong = append(wrong, fmt.Sprintf("data %q became %q", before.data, after.data))
	}
	return wrong
}

// The table of the guide is the one that TestAccOperations checks.
func TestOperationsAreDocumented(t *testing.T) {
	head, line := "| |", "|---|"
	for _, column := range tableColumns {
		head, line = head+" `"+strings.Join(column, "`, `")+"` |", line+"---|"
	}
	want := []string{head, line}
	for _, o := range operations {
		row := "| " + o.does + " |"
		for _, outcome := range o.outcomes {
			row += " " + outcome.says + " |"
		}
		want = append(want, row)
	}
	text, err := os.ReadFile("../../templates/guides/changes.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "|") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the table of templates/guides/changes.md is not\n%s", strings.Join(want, "\n"))
	}
}
