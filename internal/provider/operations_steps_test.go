package provider

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func (s *site) apply(t *testing.T, more ...string) said {
	t.Helper()
	return s.runTerraform(t, append([]string{"apply", "-auto-approve"}, more...)...)
}

// options repeats an option for the address of each kind.
func options(option string, chosen []string) (list []string) {
	for _, kind := range chosen {
		list = append(list, option+address(kind))
	}
	return list
}

func movedBlocks(addresses map[string]string) string {
	var b strings.Builder
	for from, to := range addresses {
		fmt.Fprintf(&b, "moved {\n from = %s\n to = %s\n}\n", from, to)
	}
	return b.String()
}

func rename(t *testing.T, s *site, chosen []string) said {
	t.Helper()
	addresses := map[string]string{}
	for _, kind := range chosen {
		addresses[address(kind)] = renamed(kind)
	}
	s.configure(t, layout{renamed: chosen, more: movedBlocks(addresses)})
	return s.apply(t)
}

// renameWithoutMoved gives all resources that are not chosen their first label back.
func renameWithoutMoved(t *testing.T, s *site, chosen []string) said {
	t.Helper()
	addresses := map[string]string{}
	for _, kind := range kinds {
		if !slices.Contains(chosen, kind) {
			addresses[renamed(kind)] = address(kind)
		}
	}
	s.configure(t, layout{renamed: chosen, more: movedBlocks(addresses)})
	return s.apply(t)
}

func moveThroughModule(t *testing.T, s *site, _ []string) said {
	t.Helper()
	into, out := map[string]string{}, map[string]string{}
	for address := range s.importIDs() {
		into[address], out["module.m."+address] = "module.m."+address, address
	}
	s.configure(t, layout{inModule: true, more: movedBlocks(into)})
	told := s.apply(t)
	s.configure(t, layout{more: movedBlocks(out)})
	return told.then(s.apply(t))
}

// importElsewhere imports all resources into a second state and then into a third one.
func importElsewhere(t *testing.T, s *site, _ []string) said {
	t.Helper()
	var removed, imports strings.Builder
	forget := []string{"state", "rm"}
	for address, id := range s.importIDs() {
		fmt.Fprintf(&removed, "removed {\n from = %s\n lifecycle { destroy = false }\n}\n", address)
		fmt.Fprintf(&imports, "import {\n to = %s\n id = %q\n}\n", address, id)
		forget = append(forget, address)
	}
	s.write(t, "main.tf", s.provider(layout{})+removed.String())
	told := s.apply(t)
	s.workspace = newWorkspace(t, "")
	s.configure(t, layout{more: imports.String()})
	told = told.then(s.apply(t))
	s.run(t, forget...)
	s.workspace = newWorkspace(t, "")
	s.configure(t, layout{more: imports.String()})
	told = told.then(s.apply(t))
	s.configure(t, layout{}) // otherwise the blocks would prevent the destroy
	return told
}

func moveState(t *testing.T, s *site, _ []string) said {
	t.Helper()
	s.configure(t, layout{})
	other := newWorkspace(t, "")
	for address := range s.importIDs() {
		s.run(t, "state", "mv", "-state-out="+other.dir+"/terraform.tfstate", address, address)
	}
	s.workspace = other
	s.configure(t, layout{})
	return s.apply(t)
}

func taint(t *testing.T, s *site, chosen []string) said {
	t.Helper()
	for _, kind := range chosen {
		s.run(t, "taint", address(kind))
	}
	told := s.apply(t)
	if told.failed {
		for _, kind := range chosen {
			s.try(t, "untaint", address(kind)) // which is an error for what is no longer tainted
		}
	}
	return told
}

func replace(t *testing.T, s *site, chosen []string) said {
	t.Helper()
	return s.apply(t, options("-replace=", chosen)...)
}

func replaceEarly(t *testing.T, s *site, chosen []string) said {
	t.Helper()
	s.configure(t, layout{early: true})
	return replace(t, s, chosen)
}

func destroyAndApply(t *testing.T, s *site, chosen []string) said {
	t.Helper()
	told := s.runTerraform(t, append([]string{"destroy", "-auto-approve"}, options("-target=", chosen)...)...)
	return told.then(s.apply(t))
}

func applyTargets(t *testing.T, s *site, chosen []string) said {
	t.Helper()
	return s.apply(t, options("-target=", chosen)...)
}

func applyTwice(t *testing.T, s *site, _ []string) said {
	t.Helper()
	second := *s
	second.workspace = newWorkspace(t, "")
	second.configure(t, layout{})
	told := second.apply(t)
	return told.then(second.runTerraform(t, "destroy", "-auto-approve"))
}
