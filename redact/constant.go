package redact

// literal is the type of the texts that stand in a program: what is no constant
// of it would have to be converted, and has no way to be.
type literal string

// Error returns an error whose text is a constant of the program. In a record
// the text stays, though the cause's message may have to be dropped because it
// holds a secret or what a policy removed:
//
//	return redact.Error("the payment service refused the order", err)
//
// The error's message is the text, a colon and the cause's message; it wraps
// the cause, which may be nil. A panic with such an error keeps the text, too.
func Error(text literal, cause error) error {
	return &constant{string(text), cause}
}

type constant struct {
	text  string
	cause error
}

func (e *constant) Error() string {
	if e.cause == nil {
		return e.text
	}
	return e.text + ": " + e.cause.Error()
}

func (e *constant) Unwrap() error { return e.cause }

// JobErrorText returns the text: see [github.com/jobaudit/jobaudit.Trail.Fail].
func (e *constant) JobErrorText() string { return e.text }
