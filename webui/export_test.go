package webui

// ReadAtMost has pages go through no more than n events of a job.
func (u *UI) ReadAtMost(n int) { u.mostRead = n }
