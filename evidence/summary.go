package evidence

// A Summary says what happened in a period that has more events than a file
// holds. It is the word of the person who made the file.
type Summary struct{}
