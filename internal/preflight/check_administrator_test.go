package preflight

import (
	"fmt"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// Membership in an administrator's role must not be the way to get what the administrator owns:
// no advice says to grant it.
func TestCheckDestinationOfAdministrator(t *testing.T) {
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		shop := pgtest.NewShop(t, s)
		creator, indirect := s.Role(t), s.Role(t)
		shop.Run(t, fmt.Sprintf(`
			GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %[1]s TO %[2]s;
			ALTER ROLE %[3]s CREATEROLE; GRANT %[3]s TO %[4]s;
			CREATE SCHEMA of_superuser; CREATE TABLE of_superuser.loaded (_sdc_table_version bigint);
			CREATE SCHEMA of_creator AUTHORIZATION %[3]s;
			CREATE SCHEMA of_member AUTHORIZATION %[4]s;
			CREATE SCHEMA _stitch`, shop.Name, shop.User, creator, indirect))
		want := ConnectionCheck{Database: shop.Name, Use: UseAsDestination, Schemas: []string{"of_superuser", "of_creator", "of_member"}}
		found := check(t, shop.As(t, shop.User), want)
		detail := found.Advice[0].Detail
		for _, owner := range []string{s.Username, creator, indirect} {
			if strings.Contains(detail, "GRANT "+pgclient.Ident(owner)) {
				t.Errorf("it is advised to grant %q:\n%s", owner, detail)
			}
		}
		if !strings.Contains(detail, `ALTER SCHEMA "_stitch" RENAME TO "_stitch_old"`) || strings.Contains(detail, `ALTER SCHEMA "_stitch" OWNER`) {
			t.Errorf("of the catalog:\n%s", detail)
		}
		shop.Run(t, "DROP SCHEMA _stitch")
		for _, p := range check(t, shop.As(t, shop.User), want).Privileges {
			if !p.Held && !p.spared {
				shop.Run(t, p.remedy)
			}
		}
		if found = check(t, shop.As(t, shop.User), want); !found.Ready() {
			t.Errorf("after the remedies: %v", found.Advice)
		}
	})
}
