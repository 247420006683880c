package provider

import (
	"context"
	"fmt"
	"sync"
)

// Claims are the objects that resources have created or adopted, or are deleting, since
// the provider was configured: in one apply. What exists already may be another resource's of
// the same configuration: a block that is renamed without a moved block is destroyed and
// created at the same time, in any order, and two new blocks may mean the same object.
//
// A resource that an earlier apply created is not known here: Terraform does not ask the
// provider about what does not change, nor does it tell which resource it asks about. A second
// block for its object adopts it if it is still as created, with a warning.
type claims struct {
	mu       sync.Mutex
	kept     map[string]bool          // those that the state has, as far as it was looked at
	moved    map[string]bool          // those that are planned in the place of one elsewhere
	created  map[string]bool          // also those that are about to be
	deleting map[string]chan struct{} // closed at the end of that
	left     map[string]bool          // not deleted, for another one of the same name to be made of
}

func newClaims() *claims {
	return &claims{
		kept: map[string]bool{}, moved: map[string]bool{}, created: map[string]bool{},
		deleting: map[string]chan struct{}{}, left: map[string]bool{},
	}
}

// keep notes that the state has an object. One of the same name that is planned without
// a state takes its place.
func (c *claims) keep(o object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[o.id()] = true
}

func (c *claims) isKept(o object) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept[o.id()]
}

// leave notes that an object that is replaced was not deleted, because others depend on it.
func (c *claims) leave(o object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left[o.id()] = true
}

func (c *claims) isLeft(o object) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left[o.id()]
}

// move notes that an object is planned in the place of one elsewhere.
func (c *claims) move(o object) {
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

// create claims an object for a resource that is about to create or adopt it, when
// others that are deleting it have come to an end. If it fails, release gives it back.
func (c *claims) create(ctx context.Context, o object) (release func(), err error) {
	if err := c.lockUndeleted(ctx, o); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	if c.created[o.id()] {
		return nil, fmt.Errorf("another resource of this configuration has created the %s %q on %s, or is creating it: remove one of the two", o.noun, o.name, o.on)
	}
	c.created[o.id()] = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.created, o.id())
	}, nil
}

// delete claims an object for a resource that is about to delete it. It is not to be
// deleted (!ok) once another resource has created or adopted it.
func (c *claims) delete(ctx context.Context, o object) (end func(), ok bool, err error) {
	if err := c.lockUndeleted(ctx, o); err != nil {
		return nil, false, err
	}
	defer c.mu.Unlock()
	if c.created[o.id()] {
		return nil, false, nil
	}
	ended := make(chan struct{})
	c.deleting[o.id()] = ended
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.deleting, o.id())
		close(ended)
	}, true, nil
}

// lockUndeleted locks c at a time when nobody is deleting the object.
func (c *claims) lockUndeleted(ctx context.Context, o object) error {
	for {
		c.mu.Lock()
		ended, isDeleting := c.deleting[o.id()]
		if !isDeleting {
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
