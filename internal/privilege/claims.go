package privilege

import (
	"maps"
	"slices"
	"sync"
)

// Claims are what the resources of one provider block grant, as far as this process has granted
// it or found it granted. Terraform destroys and creates independent resources at the same time,
// in any order: when grants are renamed, split or replaced, the resource that gives up a
// privilege may be processed after the one that now grants it. A privilege that another resource
// claims is therefore not revoked. A resource that an apply leaves unchanged claims nothing in
// that apply, because Terraform does not tell the provider about it.
type claims struct {
	mu         sync.Mutex
	byResource map[string]claim
}

// A claim is what one resource grants to a user in one database.
type claim struct {
	place string // see roles.place
	scope
}

// record notes what a resource grants, and returns a function that restores the claim from
// before. A resource without an identity claims nothing.
func (c *claims) record(made claim) (undo func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, had := c.byResource[made.resource]
	if made.resource == "" {
		return func() {}
	}
	if c.byResource == nil {
		c.byResource = map[string]claim{}
	}
	c.byResource[made.resource] = made
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.byResource, made.resource)
		if had {
			c.byResource[made.resource] = before
		}
	}
}

// release forgets what a resource claims.
func (c *claims) release(resource string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byResource, resource)
}

// others returns what other resources than that of a scope grant to its user in a database.
func (c *claims) others(place string, sc scope) []scope {
	c.mu.Lock()
	defer c.mu.Unlock()
	var kept []scope
	for _, resource := range slices.Sorted(maps.Keys(c.byResource)) {
		if other := c.byResource[resource]; resource != sc.resource && other.place == place && other.user == sc.user {
			kept = append(kept, other.scope)
		}
	}
	return kept
}
