package tablesync

import (
	"slices"
	"testing"
)

// Halves come in order, and a key may occur several times.
func TestMerge(t *testing.T) {
	t.Parallel()
	of := func(keys ...byte) func() (*hashedRow, error) {
		return func() (*hashedRow, error) {
			if len(keys) == 0 {
				return nil, nil
			}
			h := &hashedRow{key: [16]byte{keys[0] & 0x0f}, values: [16]byte{keys[0] >> 7}, promised: keys[0]&0x40 == 0, place: string('a' + rune(keys[0]&0x0f))}
			keys = keys[1:]
			return h, nil
		}
	}
	const late, changed = 0x40, 0x80
	for _, tt := range []struct {
		source, destination []byte
		want                rowComparison
		unmatched           []string
	}{
		{nil, nil, rowComparison{}, nil},
		{[]byte{1, 2}, []byte{1, 2}, rowComparison{}, nil},
		{[]byte{1, 2 | late, 3}, nil, rowComparison{missing: 2, late: 1}, nil},
		{nil, []byte{1, 2}, rowComparison{kept: 2}, []string{"b", "c"}},
		{[]byte{1, 3}, []byte{2, 3 | changed}, rowComparison{missing: 1, kept: 1, changed: 1}, []string{"c"}},
		{[]byte{1, 1, 1}, []byte{1, 1, 2}, rowComparison{missing: 1, kept: 1}, []string{"c"}},
		{[]byte{1}, []byte{1, 1}, rowComparison{kept: 1}, []string{"b"}},
	} {
		var unmatched []string
		got, err := mergeJoin(of(tt.source...), of(tt.destination...), func(place string) { unmatched = append(unmatched, place) })
		if err != nil || got != tt.want || !slices.Equal(unmatched, tt.unmatched) {
			t.Errorf("%v, %v: got %+v %q (%v), want %+v %q", tt.source, tt.destination, got, unmatched, err, tt.want, tt.unmatched)
		}
	}
}
