package queue

// Remembered is how many jobs a Settling knows.
func Remembered(s *Settling) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.jobs)
}
