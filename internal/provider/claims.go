package provider

import (
	"context"
	"fmt"
	"sync"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// claims holds the objects that resources have created, adopted or begun to delete since the
// provider was configured, which means in one apply. An object that already exists may belong to
// another resource of the same configuration: Terraform destroys and creates at the same time, in
// any order, when a block is renamed without a moved block; and two new blocks may name the same
// object.
//
// claims does not know a resource that an earlier apply created: Terraform does not ask the
// provider about what does not change, nor does it say which resource it asks about. A second block
// for such an object adopts it if it is still as it was created, with a warning.
type claims struct {
	mu      sync.Mutex
	inState map[string]bool          // those that the state has, as far as the provider has read them
	moved   map[string]bool          // those that are planned to replace one elsewhere
	created map[string]bool          // includes those that are about to be created
	refused map[string]bool          // those that could not be created
	left    map[string]bool          // not deleted, so that another one of the same name can be made of them
	busy    map[string]chan struct{} // those that are being created or deleted; closed when that ends
}

func newClaims() *claims {
	return &claims{
		inState: map[string]bool{}, moved: map[string]bool{}, created: map[string]bool{},
		refused: map[string]bool{}, left: map[string]bool{}, busy: map[string]chan struct{}{},
	}
}

// markInState notes that the state has an object. An object of the same name that is planned
// without a state replaces it.
func (c *claims) markInState(o object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inState[o.id()] = true
}

func (c *claims) isInState(o object) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inState[o.id()]
}

// markLeft notes that a replaced object was not deleted, because others depend on it.
func (c *claims) markLeft(o object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left[o.id()] = true
}

func (c *claims) isLeft(o object) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left[o.id()]
}

// markMoved notes that an object is planned to replace one elsewhere.
func (c *claims) markMoved(o object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moved[o.id()] = true
}

func (c *claims) isMoved(o object) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.moved[o.id()]
}

// isCreated reports whether an object was created or adopted in this apply.
func (c *claims) isCreated(o object) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.created[o.id()]
}

// create claims an object for a resource that is about to create or adopt it. It waits for other
// resources that are creating or deleting the object. The caller reports success or failure through
// end.
func (c *claims) create(ctx context.Context, o object) (end func(ok bool), err error) {
	if err := c.lockIdle(ctx, o); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	if c.created[o.id()] {
		return nil, fmt.Errorf("another resource of this configuration has already created the %s %q on %s: remove one of the two resources", o.noun, o.name, o.on)
	}
	c.created[o.id()] = true
	markIdle := c.markBusy(o)
	return func(ok bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !ok {
			delete(c.created, o.id())
			c.refused[o.id()] = true
		}
		markIdle()
	}, nil
}

// delete claims an object for a resource that is about to delete it. The resource must not delete
// the object (!ok) once another resource has created or adopted it. If another resource tried to
// and was refused, that is an error: the object would end up deleted, or in no state.
func (c *claims) delete(ctx context.Context, o object) (end func(), ok bool, err error) {
	if err := c.lockIdle(ctx, o); err != nil {
		return nil, false, err
	}
	defer c.mu.Unlock()
	switch {
	case c.created[o.id()]:
		return nil, false, nil
	case c.refused[o.id()]:
		return nil, false, pgclient.Advise(
			fmt.Errorf("another resource of this configuration tried to take over the %s %q on %s and failed. It was not deleted, and it stays in the state", o.noun, o.name, o.on),
			fmt.Sprintf("If that is the same resource under a new name, paste this block into the configuration, fill in both names, and apply again.\n\n"+
				"  moved {\n    from = %[1]s.OLD\n    to   = %[1]s.NEW\n  }", o.typeName))
	}
	markIdle := c.markBusy(o)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		markIdle()
	}, true, nil
}

// markBusy makes the object busy until markIdle is called. c is locked when markBusy is called
// and when markIdle is.
func (c *claims) markBusy(o object) (markIdle func()) {
	ended := make(chan struct{})
	c.busy[o.id()] = ended
	return func() {
		delete(c.busy, o.id())
		close(ended)
	}
}

// lockIdle locks c at a moment when no resource is creating or deleting the object.
func (c *claims) lockIdle(ctx context.Context, o object) error {
	for {
		c.mu.Lock()
		ended, isBusy := c.busy[o.id()]
		if !isBusy {
			return nil
		}
		c.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
