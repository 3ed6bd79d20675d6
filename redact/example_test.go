package redact_test

import (
	"errors"
	"fmt"

	"github.com/jobaudit/jobaudit/redact"
)

func ExampleSeal() {
	keys := new(redact.MemoryKeys) // a program uses OpenFileKeys
	name, err := redact.Seal(keys, "customer-7", "Ann Example")
	if err != nil {
		fmt.Println(err)
	}
	text, err := redact.Open(keys, name.String())
	fmt.Println(text, err)

	// What Recorder.Erase does, besides recording it.
	_, err = keys.Erase("customer-7")
	_, opened := redact.Open(keys, name.String())
	fmt.Println(err, errors.Is(opened, redact.ErrErased))
	// Output:
	// Ann Example <nil>
	// <nil> true
}

func ExampleError() {
	cause := errors.New("POST https://pay.example.org/?token=…: 403")
	fmt.Println(redact.Error("the payment service refused the order", cause))
	// Output: the payment service refused the order: POST https://pay.example.org/?token=…: 403
}
