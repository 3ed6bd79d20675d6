package webui

// ReadAtMost has pages go through no more than n events of a job.
func (u *UI) ReadAtMost(n int) { u.mostRead = n }

// PassAtMost has a page of the list, and that of the log, go through no more than n
// events of the log.
func (u *UI) PassAtMost(n int) { u.mostPassed, u.mostCounted = n, n }
