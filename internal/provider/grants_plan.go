package provider

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"
)

// grantsIDKey is where the private state, which no plan shows, holds the id that tells one resource
// of grants from all others: Terraform tells a provider no addresses.
const grantsIDKey = "grants_id"

// readGrantsID returns "" if there is no id. See readSeal for the interfaces.
func readGrantsID(ctx context.Context, private interface {
	GetKey(context.Context, string) ([]byte, diag.Diagnostics)
}) (id string, diags diag.Diagnostics) {
	text, diags := private.GetKey(ctx, grantsIDKey)
	if diags.HasError() || text == nil {
		return "", diags
	}
	if err := json.Unmarshal(text, &id); err != nil {
		diags.AddError("Cannot read the private state", err.Error())
	}
	return id, diags
}

// newGrantsID makes an id and stores it.
func newGrantsID(ctx context.Context, private interface {
	SetKey(context.Context, string, []byte) diag.Diagnostics
}) (string, diag.Diagnostics) {
	id := rand.Text()
	return id, private.SetKey(ctx, grantsIDKey, []byte(`"`+id+`"`))
}

// grantsIDOf reads the id, or makes one for a resource that has none because it was imported.
func grantsIDOf(ctx context.Context, private privateState) (string, diag.Diagnostics) {
	id, diags := readGrantsID(ctx, private)
	if id == "" && !diags.HasError() {
		return newGrantsID(ctx, private)
	}
	return id, diags
}

// A grantsPlan is the plan of one resource of grants: what it had, and what it will have. An item
// is something that the user may read, named in quotes as in SQL, or another privilege.
type grantsPlan struct {
	whose     string // such as: user "stitch" rights on database "shop" of server "app"
	place     string // which tells apart servers, databases and users
	had, want []string
	unchanged bool // the plan changes nothing
}

// grantsPlans are the plans of resources since the provider was configured.
type grantsPlans struct {
	mu   sync.Mutex
	byID map[string]grantsPlan
}

// add notes a plan. It returns what this plan and an earlier one both grant, and what one of the
// two gives up although the other, which this apply does not change, needs it.
func (all *grantsPlans) add(id string, plan grantsPlan) (overlap, lost []string) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for other, earlier := range all.byID {
		if other == id || earlier.place != plan.place {
			continue
		}
		overlap = append(overlap, common(plan.want, earlier.want)...)
		for _, pair := range [][2]grantsPlan{{plan, earlier}, {earlier, plan}} {
			if pair[1].unchanged {
				givenUp := slices.DeleteFunc(slices.Clone(pair[0].had), func(item string) bool { return slices.Contains(pair[0].want, item) })
				lost = append(lost, common(givenUp, pair[1].want)...)
			}
		}
	}
	if all.byID == nil {
		all.byID = map[string]grantsPlan{}
	}
	all.byID[id] = plan
	return sorted(overlap), sorted(lost)
}

func sorted(items []string) []string {
	slices.Sort(items)
	return slices.Compact(items)
}

// common returns the items that two resources both grant: a table is part of its schema.
func common(a, b []string) (items []string) {
	for _, one := range a {
		for _, other := range b {
			switch {
			case one == other, strings.HasPrefix(one, other+"."):
				items = append(items, one)
			case strings.HasPrefix(other, one+"."):
				items = append(items, other)
			}
		}
	}
	return items
}

// first returns the first of many items, and how many more there are.
func first(items []string) []string {
	const named = 10
	if more := len(items) - named; more > 0 {
		return append(slices.Clone(items[:named]), fmt.Sprintf("and %d more", more))
	}
	return items
}

// warn reports what add found. A plan gets the warning once, from the second of two resources.
func (p grantsPlan) warn(overlap, lost []string) (diags diag.Diagnostics) {
	if len(overlap) > 0 {
		diags.AddWarning("Two resources grant the same rights", fmt.Sprintf(
			"This resource and another one of the configuration both grant %s: %s. If one of them is destroyed or narrowed, the other loses these rights until its next apply grants them again. "+
				"Use one resource for each user and schema.", p.whose, strings.Join(first(overlap), ", ")))
	}
	if len(lost) > 0 {
		diags.AddWarning("Another resource loses rights", fmt.Sprintf(
			"Two resources grant %s. One of them is destroyed or narrowed, but the other, which does not change, needs these rights: %s. This apply revokes them, and the next one grants them again. "+
				"Use one resource for each user and schema.", p.whose, strings.Join(first(lost), ", ")))
	}
	return diags
}

// values are those of a plan or of a state.
type values interface {
	Get(ctx context.Context, target any) diag.Diagnostics
}

// checkGrants notes the plan of one resource of grants, whose model has the items, and warns if it
// collides with another resource. The user and the place must be known.
func (c *clients) checkGrants(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse, items func(values) (grantsOf, diag.Diagnostics)) {
	if c == nil || c.servers == nil || resp.Diagnostics.HasError() {
		return
	}
	var plan grantsPlan
	var of grantsOf
	if !req.State.Raw.IsNull() {
		had, diags := items(req.State)
		resp.Diagnostics.Append(diags...)
		of, plan.had = had, had.items
	}
	if !req.Plan.Raw.IsNull() {
		want, diags := items(req.Plan)
		resp.Diagnostics.Append(diags...)
		of, plan.want = want, want.items
	}
	server, err := c.server(of.server)
	if resp.Diagnostics.HasError() || err != nil || of.database == "" || of.user == "" {
		return // the apply checks again, once it is known
	}
	id, diags := grantsIDOf(ctx, resp.Private)
	resp.Diagnostics.Append(diags...)
	plan.whose = fmt.Sprintf("user %q rights on database %q of server %q", of.user, of.database, of.server)
	plan.place = strings.Join([]string{server.Place(), of.database, of.user}, "\x00")
	plan.unchanged = req.Plan.Raw.Equal(req.State.Raw)
	resp.Diagnostics.Append(plan.warn(c.grantsPlans.add(id, plan))...)
}

// grantsOf says whose grants these are, as far as that is known, and which.
type grantsOf struct {
	server, database, user string
	items                  []string
}
