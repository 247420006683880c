package provider

import (
	"context"
	"errors"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/linux"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// A place says how to find the server or SSH host of what a resource stands for. Names are those of
// attributes.
type place struct {
	in        string // the attribute that contains the entry's attribute, if the resource itself does not: destination
	attribute string // the attribute that names the entry: server, host
	words     placeWords
	entries   func(*clients) entries
	identify  func(ctx context.Context, c *clients, entry string, plans bool, of attributes) (identity, error)
	dropped   string                                                                   // the attribute that names what destroying drops; "" if a destroy drops nothing that was imported
	lost      func(ctx context.Context, c *clients, entry string, of attributes) error // says what deleting it would lose; nil: nothing
	moves     func(ctx context.Context, c *clients, of attributes)                     // notes that a plan replaces an object elsewhere; may be nil
}

// path is the path of the attribute that names the entry.
func (p place) path() path.Path {
	if p.in != "" {
		return path.Root(p.in).AtName(p.attribute)
	}
	return path.Root(p.attribute)
}

// entry returns the name of the entry, or "" if it is not known.
func (p place) entry(ctx context.Context, of attributes) string {
	var value types.String
	of.GetAttribute(ctx, p.path(), &value)
	return value.ValueString()
}

// attributes are the attributes of a plan or a state.
type attributes interface {
	GetAttribute(context.Context, path.Path, any) diag.Diagnostics
}

// text returns a text attribute, or "" if it is null or unknown.
func text(ctx context.Context, of attributes, name string) string {
	var value types.String
	of.GetAttribute(ctx, path.Root(name), &value)
	return value.ValueString()
}

func onAServer(object string, identify func(ctx context.Context, s *pgclient.Server, of attributes) (pgclient.Identity, error)) place {
	return place{
		attribute: "server",
		words:     placeWords{system: "system identifier", object: object, number: "oid"},
		entries:   func(c *clients) entries { return c.serverNames },
		identify: func(ctx context.Context, c *clients, entry string, plans bool, of attributes) (identity, error) {
			server, err := c.server(entry)
			if err != nil {
				return identity{}, err
			}
			if plans {
				server = server.Planning()
			}
			id, err := identify(ctx, server, of)
			return identity{System: id.System, Started: id.Started, Object: id.Object}, err
		},
	}
}

// dropping marks a place whose object, named by an attribute, a destroy drops.
func (p place) dropping(attribute string) place {
	p.dropped = attribute
	return p
}

// asRole is the place of a role that an attribute names.
func asRole(attribute string) place {
	return onAServer("role", func(ctx context.Context, s *pgclient.Server, of attributes) (pgclient.Identity, error) {
		return s.RoleIdentity(ctx, text(ctx, of, attribute))
	})
}

// inDatabase is the place of the database that an attribute names, or of an object in it.
func inDatabase(attribute string) place {
	return onAServer("database", func(ctx context.Context, s *pgclient.Server, of attributes) (pgclient.Identity, error) {
		return s.DatabaseIdentity(ctx, text(ctx, of, attribute))
	})
}

// holding marks a place whose object holds data.
func (p place) holding(lost func(ctx context.Context, s *pgclient.Server, of attributes) error) place {
	p.lost = func(ctx context.Context, c *clients, entry string, of attributes) error {
		server, err := c.serverToRead(entry)
		if err != nil {
			return err
		}
		return lost(ctx, server, of)
	}
	return p
}

// ofHostUser is the place of what belongs to the user of an SSH host whom the attribute username
// names.
func ofHostUser() place {
	return place{
		attribute: "host",
		words:     placeWords{system: "host key", object: "user", number: "uid and home directory"},
		entries:   func(c *clients) entries { return c.hostNames },
		identify: func(ctx context.Context, c *clients, entry string, plans bool, of attributes) (identity, error) {
			host, err := c.host(entry)
			if err != nil {
				return identity{}, err
			}
			if plans {
				host = host.Planning()
			}
			id, err := linux.UserIdentity(ctx, host, text(ctx, of, "username"))
			return identity{System: id.HostKey, Started: id.Machine, Object: id.User}, err
		},
	}
}

// isGone returns the error that an entry no longer exists, or nil.
func (p place) isGone(c *clients, entry string) error {
	var missing *noEntryError
	if c != nil && errors.As(p.entries(c).check(entry), &missing) {
		return missing
	}
	return nil
}

// tablesOf returns an error that names the tables of a destination database.
func tablesOf(ctx context.Context, s *pgclient.Server, of attributes) error {
	return postgres.TablesOf(ctx, s, text(ctx, of, "name"))
}

// contentsOf returns an error that names the contents of a destination schema.
func contentsOf(ctx context.Context, s *pgclient.Server, of attributes) error {
	return postgres.ContentsOf(ctx, s, text(ctx, of, "database"), text(ctx, of, "name"))
}
