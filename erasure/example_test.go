package erasure_test

import (
	"errors"
	"fmt"

	"github.com/jobaudit/jobaudit/erasure"
)

func ExampleSeal() {
	keys := new(erasure.MemoryKeys) // a program uses OpenFileKeys
	name, err := erasure.Seal(keys, "customer-7", "Ann Example")
	if err != nil {
		fmt.Println(err)
	}
	text, err := erasure.Open(keys, name.String())
	fmt.Println(text, err)

	// What Recorder.Erase does, besides recording it.
	_, err = keys.Erase("customer-7")
	_, opened := erasure.Open(keys, name.String())
	fmt.Println(err, errors.Is(opened, erasure.ErrErased))
	// Output:
	// Ann Example <nil>
	// <nil> true
}
