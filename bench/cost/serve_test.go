package cost_test

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/jobaudit/jobaudit/bench/cost"
)

func TestAProgramIsMeasuredAsIfItsVariantsWereHere(t *testing.T) {
	served := cost.Rows{"row": {
		{Name: "works", Least: 3, Run: func(n int) (cost.Cost, error) {
			return cost.Cost{Wall: time.Duration(n), CPU: 2, Allocs: 3, Bytes: 4}, nil
		}},
		{Name: "fails", Fixed: 5, Run: func(int) (cost.Cost, error) { return cost.Cost{}, errors.New("no disk") }},
	}}
	in, to := io.Pipe()
	from, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- cost.Serve(in, out, served) }()
	rows, err := cost.Of(to, from)
	if err != nil || len(rows["row"]) != 2 {
		t.Fatal(rows, err)
	}
	works, fails := rows["row"][0], rows["row"][1]
	if works.Name != "works" || works.Least != 3 || fails.Fixed != 5 {
		t.Fatal(works, fails)
	}
	if c, err := works.Run(7); err != nil || c != (cost.Cost{Wall: 7, CPU: 2, Allocs: 3, Bytes: 4}) {
		t.Fatal(c, err)
	}
	if _, err := fails.Run(1); err == nil || err.Error() != "no disk" {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
