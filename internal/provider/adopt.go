package provider

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// An object is what a resource manages, named as its server or SSH host names it.
type object struct {
	noun     string // database user
	name     string
	on       string   // server "app"
	place    string   // where the server or SSH host is; see claims
	typeName string   // of the resource
	key      []string // the parts of its import id
	inTheWay string   // what to add if the object already exists
}

// inServer makes an object of a server, or of a database of that server.
func inServer(server *pgclient.Server, o object) object {
	o.on, o.place = fmt.Sprintf("server %q", server.Name()), server.Place()
	o.key = append([]string{server.Name()}, o.key...)
	return o
}

// id identifies an object for claims. Two entries of the provider block that lead to one place give
// the same id, as far as the provider can tell: a server is identified by its address as it is
// written, and an SSH host by what it is (linux.Identify).
func (o object) id() string {
	return strings.Join(append([]string{o.typeName, o.place}, o.key[1:]...), "\x00")
}

// A creation says how to create an object or, if it already exists, how to adopt it.
type creation struct {
	object
	create     func() error
	isExisting func(error) bool
	adopt      func() (refusals []string, err error)
}

// run creates or adopts the object.
func (c creation) run(ctx context.Context, claims *claims) (diags diag.Diagnostics) {
	end, err := claims.create(ctx, c.object)
	if err != nil {
		diags.Append(c.failed("create", err))
		return diags
	}
	if err = c.create(); c.isExisting(err) {
		var refusals []string
		if refusals, err = c.adopt(); err == nil {
			diags.Append(c.adoption(refusals))
		}
	}
	if err != nil {
		diags.Append(c.failed("create", err))
	}
	end(!diags.HasError())
	return diags
}

// remove deletes the object, unless another resource has taken it over since.
func (o object) remove(ctx context.Context, claims *claims, remove func() error) (diags diag.Diagnostics) {
	end, ok, err := claims.delete(ctx, o)
	switch {
	case err != nil:
	case !ok:
		diags.AddWarning(fmt.Sprintf("%s %q was not deleted", capital(o.noun), o.name),
			fmt.Sprintf("Another resource of this configuration took over the %s %q on %s in this apply. This resource therefore did not delete it.", o.noun, o.name, o.on))
	default:
		err = remove()
		end()
	}
	if err != nil {
		diags.Append(o.failed("delete", err))
	}
	return diags
}

func (o object) failed(verb string, err error) diag.Diagnostic {
	return diagnose("Cannot "+verb+" "+o.noun, err)
}

// adoption reports on an object that already existed: that it was adopted, or why not.
func (o object) adoption(refusals []string) diag.Diagnostic {
	if len(refusals) > 0 {
		return o.refused(refusals)
	}
	// Terraform shows only the first of the warnings that share a summary: hence the name in it.
	return diag.NewWarningDiagnostic(
		fmt.Sprintf("%s %q was adopted", capital(o.noun), o.name),
		fmt.Sprintf("The %s %q already exists on %s, is empty and matches the configuration. The provider adopted it, "+
			"because an earlier apply that was cut off may have created it. Destroying this resource deletes it.\n\n"+
			"If another resource or state manages it, remove this block from the state with `terraform state rm` (or a `removed` block with `destroy = false`) before you destroy anything.",
			o.noun, o.name, o.on))
}

func (o object) refused(refusals []string) diag.Diagnostic {
	const listed = 20
	var b strings.Builder
	fmt.Fprintf(&b, "The %s %q already exists on %s. The provider did not adopt it and changed nothing, because it is not empty or does not match the configuration:\n",
		o.noun, o.name, o.on)
	for _, line := range refusals[:min(len(refusals), listed)] {
		b.WriteString("\n  - " + oneLine(line)) // with names given by others, which may hold line breaks
	}
	if rest := len(refusals) - listed; rest > 0 {
		fmt.Fprintf(&b, "\n  - and %d more", rest)
	}
	fmt.Fprintf(&b, "\n\nTo manage it here, paste this block into the configuration, replace LABEL with the name of this resource, and apply again. "+
		"To leave it alone, choose another name.\n\n%s%s", o.inTheWay, o.importBlock())
	return diag.NewErrorDiagnostic("Cannot create "+o.noun, b.String())
}

// importBlock returns the block that imports the object. Terraform does not tell a provider the
// name of a resource, but shows it next to the error. The id needs no escapes: characters that are
// special in HCL are percent-encoded in it. The line has no blank where indent (terminal.go) would
// break it, because HCL does not allow a line break there.
func (o object) importBlock() string {
	id := fmt.Sprintf("    id = %q", joinID(o.key...))
	if len(margin+id) > columns {
		id = strings.Replace(id, " = ", "=", 1)
	}
	return "  import {\n    to = " + o.typeName + ".LABEL\n" + id + "\n  }"
}

func capital(noun string) string { return strings.ToUpper(noun[:1]) + noun[1:] }
