package main

import (
	"slices"
	"testing"
	"time"
)

func TestMiddle(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 9, 2}, 3},
	} {
		if got := middle(test.values); got != test.want {
			t.Errorf("middle(%v) = %v, want %v", test.values, got, test.want)
		}
	}
}

// A ratio, or a difference, belongs to one round, whatever the other rounds took.
func TestRatios(t *testing.T) {
	took := func(seconds ...int) (all []measure) {
		for _, s := range seconds {
			all = append(all, measure{wall: time.Duration(s) * time.Second})
		}
		return all
	}
	got := ratios(took(1, 10, 3), took(2, 20, 2), seconds)
	if want := []float64{0.5, 0.5, 1.5}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	got = differences(took(1, 10, 3), took(2, 20, 2), seconds)
	if want := []float64{-1, -10, 1}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestMet(t *testing.T) {
	for _, test := range []struct {
		rounds []float64
		sign   string
		limit  float64
		want   bool
	}{
		{[]float64{0.8, 0.9, 1.5}, "<=", 0.9, true},
		{[]float64{0.8, 0.91, 0.92}, "<=", 0.9, false},
		{[]float64{20}, "<", 20, false},
		{[]float64{0}, "<=", 0, true},
	} {
		b := bar{rounds: test.rounds, sign: test.sign, limit: test.limit}
		if b.met() != test.want {
			t.Errorf("%v %s %v: met is %v", test.rounds, test.sign, test.limit, b.met())
		}
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[float64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%v) = %s, want %s", n, got, want)
		}
	}
}
