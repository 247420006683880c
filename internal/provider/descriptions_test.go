package provider

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
)

// longest is the greatest length of an attribute's description, in bytes.
const longest = 400

// The description of an attribute says in a sentence or two what it is, and links to the guide that
// holds the exceptions.
func TestDescriptions(t *testing.T) {
	all, err := NewServer(New("test")).GetProviderSchema(t.Context(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	checkDescriptions(t, "provider", all.Provider.Block.Attributes)
	for name, schema := range all.ResourceSchemas {
		checkDescriptions(t, name, schema.Block.Attributes)
	}
	for name, schema := range all.DataSourceSchemas {
		checkDescriptions(t, "data."+name, schema.Block.Attributes)
	}
}

func checkDescriptions(t *testing.T, of string, attributes []*tfprotov6.SchemaAttribute) {
	t.Helper()
	for _, attribute := range attributes {
		name := of + "." + attribute.Name
		if length := len(attribute.Description); length > longest {
			t.Errorf("%s is described in %d bytes, and %d are enough", name, length, longest)
		}
		if attribute.NestedType != nil {
			checkDescriptions(t, name, attribute.NestedType.Attributes)
		}
	}
}
