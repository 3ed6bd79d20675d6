package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jobaudit/jobaudit/bench/cost"
)

// measured measures a row whose variants take so long for an operation.
func measured(t *testing.T, r row, took ...time.Duration) result {
	t.Helper()
	r.name = "row"
	r.setup = func(*env) (vs []cost.Variant, done func(), err error) {
		for _, d := range took {
			v := cost.Always(d.String(), d)
			v.Fixed = 10
			vs = append(vs, v)
		}
		return vs, nothing, nil
	}
	return (&env{ctx: t.Context(), rounds: 3}).measure(r)
}

func TestTheRatioIsToTheSecondOrToTheBestOfTheOthers(t *testing.T) {
	if r := measured(t, row{mark: 1}, 4, 8, 2); r.Ratio != 0.5 || r.Beside != 1 || r.Verdict != "met" {
		t.Fatal(r)
	}
	if r := measured(t, row{mark: 1, best: true}, 4, 8, 2, 16); r.Ratio != 2 || r.Beside != 2 || r.Verdict != "MISSED" {
		t.Fatal(r)
	}
	if r := measured(t, row{mark: 5, best: true, rate: true, wall: true}, 4, 80, 20); r.Ratio != 5 || r.Verdict != "met" {
		t.Fatal(r)
	}
}

func TestARowThatMissesItsMarkOrWasNotMeasuredIsInTheExitCodeAndTheDrawing(t *testing.T) {
	met, missed := measured(t, row{mark: 1}, 4, 8), measured(t, row{mark: 0.9, rate: true}, 8, 4)
	broken := (&env{ctx: t.Context()}).measure(row{name: "row", setup: func(*env) ([]cost.Variant, func(), error) {
		return nil, nil, errors.New("no disk")
	}})
	for _, c := range []struct {
		results []result
		code    int
		drawn   string
	}{
		{[]result{met}, 0, "#3a7"},
		{[]result{met, missed}, 1, "#c43"},
		{[]result{missed, broken}, 2, "not measured"},
	} {
		if code := summary(c.results); code != c.code {
			t.Fatal(code, c.results)
		}
		if !strings.Contains(drawing(c.results), c.drawn) {
			t.Fatal(drawing(c.results))
		}
	}
}
