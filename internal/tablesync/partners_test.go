package tablesync

import (
	"slices"
	"testing"
)

// Halves come in order, and a key may occur several times.
func TestMerge(t *testing.T) {
	t.Parallel()
	of := func(keys ...byte) func() (*half, error) {
		return func() (*half, error) {
			if len(keys) == 0 {
				return nil, nil
			}
			h := &half{key: [16]byte{keys[0] & 0x0f}, values: [16]byte{keys[0] >> 7}, promised: keys[0]&0x40 == 0, place: string('a' + rune(keys[0]&0x0f))}
			keys = keys[1:]
			return h, nil
		}
	}
	const late, changed = 0x40, 0x80
	for _, tt := range []struct {
		source, destination []byte
		want                pairing
		lonely              []string
	}{
		{nil, nil, pairing{}, nil},
		{[]byte{1, 2}, []byte{1, 2}, pairing{}, nil},
		{[]byte{1, 2 | late, 3}, nil, pairing{missing: 2, late: 1}, nil},
		{nil, []byte{1, 2}, pairing{kept: 2}, []string{"b", "c"}},
		{[]byte{1, 3}, []byte{2, 3 | changed}, pairing{missing: 1, kept: 1, changed: 1}, []string{"c"}},
		{[]byte{1, 1, 1}, []byte{1, 1, 2}, pairing{missing: 1, kept: 1}, []string{"c"}},
		{[]byte{1}, []byte{1, 1}, pairing{kept: 1}, []string{"b"}},
	} {
		var lonely []string
		got, err := merge(of(tt.source...), of(tt.destination...), func(place string) { lonely = append(lonely, place) })
		if err != nil || got != tt.want || !slices.Equal(lonely, tt.lonely) {
			t.Errorf("%v, %v: got %+v %q (%v), want %+v %q", tt.source, tt.destination, got, lonely, err, tt.want, tt.lonely)
		}
	}
}
