package provider

import (
	"fmt"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/listdefault"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// missingAttribute is how grants show drift. The state holds what a refresh found to be missing and
// the plan holds nothing, so the plan lists each item and its update grants them again. The
// attribute is a sorted list: Terraform's framework compares each item of a set with all others,
// and there may be thousands.
func missingAttribute(example string) schema.ListAttribute {
	return schema.ListAttribute{
		MarkdownDescription: "Expected privileges that the user did not have in any way at the last refresh: for example `" + example + "`. " +
			"Empty after each apply: a plan that shows items here grants them again, including any beyond the first 1,000.",
		ElementType: types.StringType,
		Computed:    true,
		Default:     listdefault.StaticValue(stringList(nil)),
	}
}

// excessAttribute shows drift as missingAttribute does. It may hold more than grant options.
func excessAttribute(more string) schema.ListAttribute {
	return schema.ListAttribute{
		MarkdownDescription: "What the user could do beyond these grants at the last refresh: pass a privilege on to others, such as `SELECT ON TABLE public.orders WITH GRANT OPTION`" + more + ". " +
			"Empty after each apply: a plan that shows items here revokes them, including any beyond the first 1,000.",
		ElementType: types.StringType,
		Computed:    true,
		Default:     listdefault.StaticValue(stringList(nil)),
	}
}

// listed is how many items a list of drift names. Each item costs Terraform's framework time that
// grows with the number of items, and people do not read a hundred thousand.
const listed = 1000

func stringList(items []string) types.List {
	if more := len(items) - listed; more > 0 {
		items = append(slices.Clone(items[:listed]), fmt.Sprintf("and %d more", more))
	}
	return textList(items)
}

// textValue is a text for people, as opposed to a value for a server.
func textValue(text string) types.String { return types.StringValue(asValue(text)) }

// textList is a list of texts for people.
func textList(texts []string) types.List {
	values := make([]attr.Value, len(texts))
	for i, text := range texts {
		values[i] = textValue(text)
	}
	return types.ListValueMust(types.StringType, values)
}

func stringSet(items []string) types.Set {
	return types.SetValueMust(types.StringType, stringValues(items))
}

func stringValues(items []string) []attr.Value {
	values := make([]attr.Value, len(items))
	for i, item := range items {
		values[i] = types.StringValue(item)
	}
	return values
}

// setStrings returns the known elements of a set of strings, and whether these are all elements.
func setStrings(set types.Set) (items []string, whole bool) {
	whole = !set.IsUnknown()
	for _, element := range set.Elements() {
		text, ok := element.(types.String)
		if !ok || text.IsNull() || text.IsUnknown() {
			whole = false
			continue
		}
		items = append(items, text.ValueString())
	}
	return items, whole
}
