package preflight

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// Advice is something to do about a connection.
type Advice struct {
	Summary string
	Detail  string
	Blocks  bool // runs fail until it is done
}

// The delay that Stitch's documents advise for a standby that must wait for queries.
const shortestStandbyDelay = 8 * time.Hour

// advice derives the advice from what was found. It adds to the advice that checking the tables
// gave.
func advice(s *pgclient.Server, check ConnectionCheck, found Connection) []Advice {
	if found.Major < oldestMajor {
		return adviseVersion(found.Major, found.Version)
	}
	all := adviseVersion(found.Major, found.Version)
	all = append(all, advisePooling(s, check, found.Pooling)...)
	all = append(all, adviseTLS(s, found)...)
	if check.Use == "" {
		return all
	}
	all = append(all, adviseLogin(check.Use, found.Facts)...)
	switch check.Use {
	case UseAsSource:
		all = append(all, adviseStandby(found.Facts)...)
	case UseAsDestination:
		all = append(all, adviseReadOnly(found.Facts)...)
	}
	all = append(all, advisePrivileges(check, found)...)
	all = append(all, found.Advice...)
	all = append(all, adviseIndexes(found.NotIndexed, check.WithoutIndex)...)
	return append(all, adviseRowSecurity(found)...)
}

func adviseVersion(major int, version string) []Advice {
	tested := make([]string, len(TestedMajors()))
	for i, m := range TestedMajors() {
		tested[i] = strconv.Itoa(m)
	}
	switch newest := slices.Max(TestedMajors()); {
	case major < oldestMajor:
		return []Advice{{
			Summary: "PostgreSQL " + version + " is too old",
			Detail: fmt.Sprintf("The hosted service supports PostgreSQL %s and newer. This engine needs PostgreSQL %d or newer, and is tested with %s. Upgrade the server. Nothing else was checked.",
				oldestDocumented, oldestMajor, strings.Join(tested, ", ")),
			Blocks: true,
		}}
	case major > newest:
		return []Advice{{
			Summary: fmt.Sprintf("PostgreSQL %d was not tested", major),
			Detail:  fmt.Sprintf("This release of the provider is tested with PostgreSQL %s. Look for a newer release, or try this one where nothing is at stake.", strings.Join(tested, ", ")),
		}}
	}
	return nil
}

func advisePooling(s *pgclient.Server, check ConnectionCheck, pooling pgclient.Pooling) []Advice {
	if pooling != pgclient.TransactionPooling && pooling != pgclient.UnknownPooling {
		return nil
	}
	text := (&pgclient.PoolingError{Server: s.Name(), Pooling: pooling}).Error() + "."
	if check.Use != "" {
		text += " Rights were not checked."
	}
	return []Advice{{Summary: "A pooling proxy is in front of server " + s.Name(), Detail: strings.ToUpper(text[:1]) + text[1:], Blocks: true}}
}

// adviseTLS advises encryption. A connection that stays on this machine needs none.
func adviseTLS(s *pgclient.Server, found Connection) []Advice {
	if s.IsLocal() {
		return nil
	}
	switch {
	case !found.TLS:
		return []Advice{{
			Summary: "The connection to server " + s.Name() + " is not encrypted",
			Detail: fmt.Sprintf("Anyone on the network path can read and change rows. Turn on ssl in the server's configuration, and set sslmode = \"verify-full\" in servers.%s. "+
				"Set sslrootcert there to the certificate of the authority that signed the server's certificate.", s.Name()),
		}}
	case found.Pooling != pgclient.NoPooling && !found.Facts.SessionTLS:
		return []Advice{{
			Summary: "Encryption ends at the proxy in front of server " + s.Name(),
			Detail:  "The connection to the proxy uses TLS, but the proxy connects to the server without TLS. Configure TLS for that connection as well, unless the proxy is on the server's machine.",
		}}
	case !s.VerifiesCertificate():
		return []Advice{{
			Summary: "The certificate of server " + s.Name() + " is not verified",
			Detail: fmt.Sprintf("Anyone on the network path can pretend to be the server. Set sslmode = \"verify-full\" in servers.%s. "+
				"Unless this machine already trusts the authority that signed the server's certificate, also set sslrootcert to that authority's certificate.", s.Name()),
		}}
	}
	return nil
}

func adviseLogin(use Use, f Facts) []Advice {
	if !f.Superuser {
		return nil
	}
	needed := "stitch_source_grants grants everything that reading needs."
	if use == UseAsDestination {
		needed = "stitch_destination_grants grants everything that loading needs."
	}
	return []Advice{{
		Summary: fmt.Sprintf("The login %q is a superuser", f.Username),
		Detail:  "Runs do not need the rights of a superuser, and anyone who learns the password has all of them. Let runs log in as a separate user (stitch_database_user): " + needed,
	}}
}

// adviseStandby advises on a standby's delays: a standby cancels queries that hold up replay for
// longer than its delay allows.
func adviseStandby(f Facts) []Advice {
	if !f.Standby {
		return nil
	}
	var short []string
	for _, s := range []struct {
		name, text string
		delay      int64
	}{
		{"max_standby_archive_delay", f.MaxStandbyArchiveDelay, f.archiveDelay},
		{"max_standby_streaming_delay", f.MaxStandbyStreamingDelay, f.streamingDelay},
	} {
		if s.delay >= 0 && time.Duration(s.delay)*time.Millisecond < shortestStandbyDelay {
			short = append(short, s.name+" = "+s.text)
		}
	}
	if len(short) == 0 {
		return nil
	}
	return []Advice{{
		Summary: "The standby may cancel long reads",
		Detail: fmt.Sprintf("The server is a standby (hot_standby = %s) with %s. It cancels queries that run for longer than that while changes wait to be applied. "+
			"Before the first run, set max_standby_archive_delay and max_standby_streaming_delay to 8 to 12 hours (28800000 to 43200000 ms) on the standby; you can lower them again afterwards. "+
			"hot_standby_feedback = on (it is %s) makes such conflicts rare, but leaves more dead rows on the primary.",
			f.HotStandby, strings.Join(short, " and "), f.HotStandbyFeedback),
	}}
}

func adviseReadOnly(f Facts) []Advice {
	switch {
	case f.Standby:
		return []Advice{{
			Summary: "The destination is a standby",
			Detail:  "A standby accepts no writes. Set host of the server entry to that of the primary.",
			Blocks:  true,
		}}
	case f.defaultReadOnly:
		return []Advice{{
			Summary: "Transactions of the destination are read-only",
			Detail:  fmt.Sprintf("default_transaction_read_only is on for this server, database or login. Turn it off, for instance: ALTER ROLE %s SET default_transaction_read_only = off", pgclient.Ident(f.Username)),
			Blocks:  true,
		}}
	}
	return nil
}

func advisePrivileges(check ConnectionCheck, found Connection) []Advice {
	var all []Advice
	for _, spared := range []bool{false, true} {
		var lines, remedies []string
		for _, p := range found.Privileges {
			if p.Held || p.spared != spared {
				continue
			}
			line := p.Privilege + " ON " + p.Object
			if p.missing != "" {
				line += " (" + p.missing + ")"
			}
			lines = append(lines, line+". "+p.Reason)
			if p.remedy != "" {
				remedies = append(remedies, p.remedy+";")
			}
		}
		if len(lines) == 0 {
			continue
		}
		a := Advice{
			Summary: fmt.Sprintf("The login %q lacks rights on database %q", found.Facts.Username, check.Database),
			Detail:  "Runs need these rights:" + pgclient.List(lines),
			Blocks:  !spared,
		}
		if spared {
			a.Summary = fmt.Sprintf("The login %q lacks rights on database %q that runs do not need yet", found.Facts.Username, check.Database)
			a.Detail = "Stitch's documentation lists them:" + pgclient.List(lines)
		}
		if len(remedies) > 0 {
			a.Detail += "\nUse stitch_" + string(check.Use) + "_grants to grant them, or ask an administrator to run:" + pgclient.List(remedies)
		}
		all = append(all, a)
	}
	looked := len(found.Privileges) > 0
	if looked && check.Use == UseAsSource && len(check.Schemas) == 0 && len(check.Tables) == 0 && !found.Facts.readable {
		all = append(all, Advice{
			Summary: fmt.Sprintf("The login %q can read no table of database %q", found.Facts.Username, check.Database),
			Detail:  "Grant it access to the tables to replicate (stitch_source_grants). To check schemas or tables one by one, list them in this check.",
		})
	}
	return all
}

// adviseIndexes gives no advice about tables for which the configuration accepts a missing
// index.
func adviseIndexes(notIndexed map[relation.TableName]string, accepted []relation.TableName) []Advice {
	missing := maps.Clone(notIndexed)
	for _, table := range accepted {
		delete(missing, table)
	}
	if len(missing) == 0 {
		return nil
	}
	check := ConnectionCheck{Tables: missing}
	var lines []string
	for _, table := range check.tableNames() {
		lines = append(lines, "CREATE INDEX ON "+table.SQL()+" ("+pgclient.Ident(missing[table])+");")
	}
	return []Advice{{
		Summary: "Replication keys without an index",
		Detail: "Each run selects and sorts rows by the replication key. Without an index that starts with that column, the run reads the whole table. " +
			"Create an index, if possible with CONCURRENTLY, so that other sessions can write at the same time:" + pgclient.List(lines),
	}}
}

func adviseRowSecurity(found Connection) []Advice {
	if len(found.RowSecurity) == 0 {
		return nil
	}
	names := make([]string, len(found.RowSecurity))
	for i, table := range found.RowSecurity {
		names[i] = table.String()
	}
	text := strings.Join(names[:min(len(names), namedAtMost)], ", ")
	if more := len(names) - namedAtMost; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return []Advice{{
		Summary: fmt.Sprintf("Row-level security hides rows from the login %q", found.Facts.Username),
		Detail: fmt.Sprintf("It applies to %s. Runs fail on these tables instead of silently leaving rows out. "+
			"Let the login see all rows (ALTER ROLE %s BYPASSRLS), or do not replicate these tables.", text, pgclient.Ident(found.Facts.Username)),
		Blocks: true,
	}}
}
