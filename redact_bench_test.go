package jobaudit_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// order is a record of ten fields, nested, about 500 bytes as JSON.
type order struct {
	ID       uuid.UUID      `json:"id"`
	Customer orderCustomer  `json:"customer"`
	Items    []orderItem    `json:"items"`
	Total    float64        `json:"total"`
	Currency string         `json:"currency"`
	Paid     bool           `json:"paid"`
	Placed   time.Time      `json:"placed"`
	Labels   map[string]int `json:"labels"`
	Note     string         `json:"note"`
	Card     string         `json:"card,omitempty"`
}

type orderCustomer struct {
	ID    int64  `json:"id"`
	Name  string `json:"name"`
	Email string `json:"email"`
}

type orderItem struct {
	SKU   string  `json:"sku"`
	Count int     `json:"count"`
	Price float64 `json:"price"`
}

// keptOrder is an order without the card.
type keptOrder struct {
	ID       uuid.UUID      `json:"id"`
	Customer orderCustomer  `json:"customer"`
	Items    []orderItem    `json:"items"`
	Total    float64        `json:"total"`
	Currency string         `json:"currency"`
	Paid     bool           `json:"paid"`
	Placed   time.Time      `json:"placed"`
	Labels   map[string]int `json:"labels"`
	Note     string         `json:"note"`
}

func anOrder() order {
	return order{
		ID:       uuid.MustParse("0198f2a4-7c1e-7a6b-9d3e-5f0a1b2c3d4e"),
		Customer: orderCustomer{48151623, "Ada Lovelace", "ada@example.org"},
		Items:    []orderItem{{"ABC-1234-XL", 2, 19.99}, {"DEF-5678-S", 1, 249.5}},
		Total:    289.48, Currency: "EUR", Paid: true,
		Placed: time.Date(2026, 11, 21, 20, 45, 33, 123456000, time.UTC),
		Labels: map[string]int{"priority": 3},
		Note:   "Please ring twice, leave the parcel with the neighbour on the second floor if nobody answers, and send a message afterwards. Thank you.",
	}
}

// orderRules are a typed rule and paths that keep the same.
func orderRules() (typed jobaudit.Rule, keeps []jobaudit.Path) {
	typed = jobaudit.Inputs(func(o order) (keptOrder, error) {
		return keptOrder{o.ID, o.Customer, o.Items, o.Total, o.Currency, o.Paid, o.Placed, o.Labels, o.Note}, nil
	})
	for _, p := range []string{"id", "customer.*", "items[*].*", "total", "currency", "paid", "placed", "labels.*", "note"} {
		keeps = append(keeps, jobaudit.Keep(p))
	}
	return typed, keeps
}

// BenchmarkRedactBeside tells the time of each form as a part of the time that
// encoding/json takes for the same value. The two take turns, and of each the
// fastest turn counts: a machine that has other work to do makes no difference.
func BenchmarkRedactBeside(b *testing.B) {
	typed, keeps := orderRules()
	o := anOrder()
	for name, rule := range map[string]jobaudit.Rule{"typed": typed, "paths": jobaudit.InputPaths[order](keeps...)} {
		g, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("order", "1", rule))
		if err != nil {
			b.Fatal(err)
		}
		for suffix, store := range map[string]func(any) int{"": g.BenchSanitize("order", false), " and scan": g.BenchSanitize("order", true)} {
			b.Run(name+suffix, func(b *testing.B) {
				beside(b, func() { _, _ = json.Marshal(&o) }, func() { store(&o) })
			})
		}
	}
}

// deep is a value inside others.
type deep struct {
	Name string `json:"name"`
	In   *deep  `json:"in,omitempty"`
}

// recordShapes are records of other kinds than an order.
func recordShapes() map[string]any {
	small := map[string]string{}
	numbers := make([]int64, 100)
	nested := &deep{Name: "innermost"}
	list := make([]orderItem, 40)
	for i := range 100 {
		small[fmt.Sprint("field", i)] = fmt.Sprint("value ", i)
		numbers[i] = int64(i) * 48_151_623
	}
	for range 12 {
		nested = &deep{"level", nested}
	}
	for i := range list {
		list[i] = orderItem{fmt.Sprint("ABC-", i), i, 19.99}
	}
	return map[string]any{
		"many small texts": small, "a long text": strings.Repeat(anOrder().Note+" ", 40), "nested": nested, "numbers": numbers, "a list": list,
		"a dynamic map": map[string]any{"id": "0198f2a4", "n": 3.5, "on": true, "tags": []any{"a", "b"}, "in": map[string]any{"x": 1.0, "y": nil}},
	}
}

// BenchmarkRedactShapes is BenchmarkRedactBeside for values that are kept whole,
// with the scan.
func BenchmarkRedactShapes(b *testing.B) {
	g, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PassThrough: true})
	if err != nil {
		b.Fatal(err)
	}
	store := g.BenchSanitize("shape", true)
	for name, v := range recordShapes() {
		b.Run(name, func(b *testing.B) { beside(b, func() { _, _ = json.Marshal(v) }, func() { store(v) }) })
	}
}

// beside tells the time of ours as a part of the time of theirs.
func beside(b *testing.B, theirs, ours func()) {
	turn := func(f func()) time.Duration {
		start := time.Now()
		for range 20 {
			f()
		}
		return time.Since(start)
	}
	fastest, own := time.Hour, time.Hour
	for b.Loop() {
		fastest = min(fastest, turn(theirs))
		own = min(own, turn(ours))
	}
	b.ReportMetric(float64(own)/float64(fastest), "of-encoding/json")
	b.ReportMetric(float64(own.Nanoseconds())/20, "ns/record")
}

func BenchmarkRedact(b *testing.B) {
	typed, keeps := orderRules()
	o := anOrder()
	raw, err := json.Marshal(o)
	if err != nil {
		b.Fatal(err)
	}
	var dynamic any
	if json.Unmarshal(raw, &dynamic) != nil {
		b.Fatal("not JSON")
	}
	run := func(name string, rule jobaudit.Rule, v any) {
		g, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("order", "1", rule))
		if err != nil {
			b.Fatal(err)
		}
		for suffix, store := range map[string]func(any) int{
			"": g.BenchSanitize("order", false), " and scan": g.BenchSanitize("order", true), ", scan and memory": g.BenchJob("order"),
		} {
			b.Run(name+suffix, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if store(v) < 400 {
						b.Fatal("too little was kept")
					}
				}
				b.SetBytes(int64(len(raw)))
			})
		}
	}
	b.Run("encoding/json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(&o); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(int64(len(raw)))
	})
	run("typed", typed, &o)
	run("paths", jobaudit.InputPaths[order](keeps...), &o)
	b.Run("encoding/json of a map", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(dynamic); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(int64(len(raw)))
	})
	run("paths in a map", jobaudit.InputPaths[any](keeps...), dynamic)
	run("paths in raw JSON", jobaudit.InputPaths[any](keeps...), json.RawMessage(raw))
}

// BenchmarkKeptInputs tells what inputs cost of which all is kept: 16 kB, as one
// text and as many.
func BenchmarkKeptInputs(b *testing.B) {
	type one struct {
		Text string `json:"text"`
		Key  string `json:"key"`
	}
	type keptOne struct {
		Text string `json:"text"`
	}
	prose := strings.Repeat("Please ring twice, leave the parcel with the neighbour on the second floor. ", 205)
	many := map[string]any{}
	for i := range 300 {
		many[fmt.Sprint("field", i)] = "leave the parcel with the neighbour today"
	}
	for name, c := range map[string]struct {
		rule   jobaudit.Rule
		inputs any
	}{
		"typed": {jobaudit.Inputs(func(in one) (keptOne, error) { return keptOne{in.Text}, nil }), one{Text: prose}},
		"paths": {jobaudit.InputPaths[any](jobaudit.Keep("text")), map[string]any{"text": prose}},
		"many":  {jobaudit.InputPaths[any](jobaudit.Keep("*")), many},
	} {
		g, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("act", "1", c.rule))
		if err != nil {
			b.Fatal(err)
		}
		store := g.BenchJob("act")
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(15_500)
			for b.Loop() {
				if store(c.inputs) < 10_000 {
					b.Fatal("too little was kept")
				}
			}
		})
	}
}
