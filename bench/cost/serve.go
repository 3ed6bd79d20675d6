package cost

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Rows are the variants that a program offers, by their rows.
type Rows map[string][]Variant

// order asks for so many operations of a variant.
type order struct {
	Row        string
	Variant, N int
}

// answer is what they cost, or why they failed.
type answer struct {
	Cost  Cost
	Error string
}

// Serve says what there is, and then measures what it is asked for until in ends.
func Serve(in io.Reader, out io.Writer, rows Rows) error {
	offered := map[string][]Variant{}
	for name, variants := range rows {
		for _, v := range variants {
			offered[name] = append(offered[name], Variant{Name: v.Name, Least: v.Least, Fixed: v.Fixed})
		}
	}
	to := json.NewEncoder(out)
	if err := to.Encode(offered); err != nil {
		return err
	}
	for from := json.NewDecoder(in); ; {
		var o order
		if err := from.Decode(&o); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		var a answer
		if variants := rows[o.Row]; o.Variant < 0 || o.Variant >= len(variants) {
			a.Error = fmt.Sprintf("there is no variant %d of %s", o.Variant, o.Row)
		} else if c, err := variants[o.Variant].Run(o.N); err != nil {
			a.Error = err.Error()
		} else {
			a.Cost = c
		}
		if err := to.Encode(a); err != nil {
			return err
		}
	}
}

// Of returns the rows of a program that serves, to whose input and from whose output
// these are. One of their variants runs at a time.
func Of(to io.Writer, from io.Reader) (Rows, error) {
	orders, answers := json.NewEncoder(to), json.NewDecoder(from)
	var rows Rows
	if err := answers.Decode(&rows); err != nil {
		return nil, err
	}
	for name, variants := range rows {
		for i := range variants {
			variants[i].Run = func(n int) (Cost, error) {
				if err := orders.Encode(order{name, i, n}); err != nil {
					return Cost{}, err
				}
				var a answer
				if err := answers.Decode(&a); err != nil {
					return Cost{}, fmt.Errorf("the program that measures has ended: %w", err)
				}
				if a.Error != "" {
					return Cost{}, errors.New(a.Error)
				}
				return a.Cost, nil
			}
		}
	}
	return rows, nil
}
