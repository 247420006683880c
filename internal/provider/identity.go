package provider

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/diag"
)

// An identity distinguishes what a resource stands for from everything else, whatever name the
// entry of the provider block has. "" means unknown or absent.
type identity struct {
	System   string `json:"system,omitempty"`   // system identifier, or host key: copies share it
	Started  string `json:"started,omitempty"`  // when it started: copies do not share it
	Database string `json:"database,omitempty"` // oid, for an object within a database
	Object   string `json:"object,omitempty"`   // oid, or uid and home directory, or row of the catalog
	Was      string `json:"was,omitempty"`      // what the same entry led to until the latest refresh
}

// A verdict says whether two entries lead to the same object.
type verdict int

const (
	isUnsettled verdict = iota // cannot be determined
	isSame
	isOther
)

// compareIdentities says whether an entry leads to what a resource stands for, and why not. stored
// is the remembered identity, before is what the resource's own entry leads to now, and after is
// what the other entry leads to; stored and before are nil if they are not known.
func compareIdentities(stored, before, after *identity, words placeWords) (verdict, string) {
	base := before
	if base == nil {
		base = stored
	}
	switch {
	case after == nil:
		return isUnsettled, "it could not be reached"
	case *after == identity{}:
		return isOther, "the database does not exist there"
	case base == nil:
		return isUnsettled, "the state does not record what this resource stands for"
	case before != nil && before.Started != after.Started:
		return isOther, words.differ(*base, *after)
	case before == nil && !base.isSameStart(*after) && (base.System == "" || after.System == ""):
		return isUnsettled, "the " + words.system + " could not be read"
	case base.isElsewhere(*after):
		return isOther, words.differ(*base, *after)
	case after.Object == "":
		return isOther, "the " + words.object + " does not exist there"
	case base.Object != after.Object:
		return isOther, fmt.Sprintf("the %s of that name is a different one there: %s %s, not %s", words.object, words.number, after.Object, base.Object)
	}
	return isSame, ""
}

func (id identity) isSameStart(now identity) bool {
	return id.Started != "" && id.Started == now.Started
}

// isElsewhere reports whether two identities are of different databases or systems, as far as that
// is known. A system that has not restarted since is the same, whichever of its host keys
// identifies it.
func (id identity) isElsewhere(now identity) bool {
	if id.Database != "" && now.Database != "" && id.Database != now.Database {
		return true
	}
	return !id.isSameStart(now) && id.System != "" && now.System != "" && id.System != now.System
}

// placeWords are the words for the parts of an identity in messages.
type placeWords struct{ system, object, number string }

// of names the object of an identity.
func (w placeWords) of(id identity) string {
	text := w.system + " " + orUnknown(id.System)
	if id.Database != "" {
		text += ", database with the oid " + id.Database
	}
	return text
}

func (w placeWords) differ(a, b identity) string {
	switch {
	case a.Database != "" && b.Database != "" && a.Database != b.Database && (a.System == b.System || a.System == "" || b.System == ""):
		return fmt.Sprintf("the database of that name is a different one there: oid %s, not %s", b.Database, a.Database)
	case a.System == b.System:
		return fmt.Sprintf("both have the %s %s, but they run independently: one is a copy", w.system, a.System)
	}
	return fmt.Sprintf("it has the %s %s, not %s", w.system, orUnknown(b.System), orUnknown(a.System))
}

func orUnknown(text string) string {
	if text == "" {
		return "(unknown)"
	}
	return text
}

// A privateState is the private state of a request or a response. The framework does not export its
// type.
type privateState interface {
	GetKey(context.Context, string) ([]byte, diag.Diagnostics)
	SetKey(context.Context, string, []byte) diag.Diagnostics
}

// identityKey is where the private state keeps the identity.
const identityKey = "identity"

// storedIdentity returns the remembered identity, or nil.
func storedIdentity(ctx context.Context, private privateState) *identity {
	text, _ := private.GetKey(ctx, identityKey)
	var id identity
	if text == nil || json.Unmarshal(text, &id) != nil {
		return nil
	}
	return &id
}

// storeIdentity remembers an identity.
func storeIdentity(ctx context.Context, private privateState, id identity) diag.Diagnostics {
	text, err := json.Marshal(id)
	if err != nil {
		return diag.Diagnostics{diagnose("Cannot store its identity", err)}
	}
	return private.SetKey(ctx, identityKey, text)
}
