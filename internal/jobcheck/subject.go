package jobcheck

import "hash/maphash"

// subject is what a record says of whose job it is about. A record that differs
// in it from its job's submission is foreign, as [jobaudit.Replay] has it.
type subject struct {
	org, action       uint64 // fingerprints
	root, correlation ident
}

// textSeed keeps the fingerprints of texts from being foreseen.
var textSeed = maphash.MakeSeed()

// subject makes a fingerprint of a subject.
func (m *mixer) subject(s *subject) uint64 {
	return m.hash(digest{s.org, s.action, m.id(s.root), m.id(s.correlation)})
}

// takeSubject takes what stands behind a record's job, up to the action.
func takeSubject(rest []byte, f *lineFacts) []byte {
	var id ident
	rest = literal(rest, `correlationId":"`)
	f.left.correlation = len(rest)
	rest = literal(takeID(rest, &f.subject.correlation), `"`)
	if has(rest, `,"causationId":"`) {
		rest = literal(takeID(rest[len(`,"causationId":"`):], &id), `"`)
	}
	rest = literal(takeID(literal(rest, `,"requestId":"`), &id), `"`)
	if has(rest, `,"traceparent":"`) {
		rest = skipText(rest[len(`,"traceparent":"`):])
	}
	rest = literal(skipValue(literal(rest, `,"who":{"principal":`)), `,"orgId":"`)
	f.left.org = len(rest)
	rest = takeText(rest, &f.subject.org)
	for _, optional := range [...]string{`,"onBehalfOf":`, `,"more":`, `,"upstream":`} {
		if has(rest, optional) {
			rest = skipValue(rest[len(optional):])
		}
	}
	if f.signed = has(rest, `,"proof":{"carrier":"`); f.signed {
		rest = skipText(rest[len(`,"proof":{"carrier":"`):])
		if has(rest, `,"submission":"`) {
			rest = literal(takeID(rest[len(`,"submission":"`):], &f.proof), `"`)
		}
		rest = literal(rest, `}`)
	}
	rest = literal(rest, `},"what":{"action":"`)
	f.left.action = len(rest)
	return takeText(rest, &f.subject.action)
}

// takeText takes a string without escapes from behind its first quotation mark.
func takeText(rest []byte, print *uint64) []byte {
	behind := skipText(rest)
	if behind != nil {
		*print = maphash.Bytes(textSeed, rest[:len(rest)-len(behind)-1])
	}
	return behind
}

// skipValue takes a value whose strings have no escapes: an object, a list or a
// number. Whether it is one the parser would say.
func skipValue(rest []byte) []byte {
	depth := 0
	for len(rest) > 0 {
		switch c := rest[0]; c {
		case '"':
			if rest = skipText(rest[1:]); depth == 0 {
				return rest
			}
			continue
		case '{', '[':
			depth++
		case '}', ']', ',':
			if depth == 0 {
				return rest
			}
			if c != ',' {
				depth--
				if depth == 0 {
					return rest[1:]
				}
			}
		}
		rest = rest[1:]
	}
	return nil
}

// A submission is one of several of a job.
type submission struct {
	job             ident
	stream, subject uint64 // fingerprints
}

// readSubmissions finds out what the submission of each job says: the one that
// signed Carriers name, if all agree, else the log's first.
func (c *checker) readSubmissions(part int) error {
	several := make(map[submission]bool)
	err := c.jobs.each(part, c.block, func(fact []byte) {
		if eventCode(fact[24]) != codeSubmitted {
			return
		}
		s := submission{identAt(fact, 0), word(fact, 40), word(fact, 32)}
		j, again := c.states.at(c.mixer.id(s.job), s.job)
		if !again {
			j.submitted, j.first = true, s
			return
		}
		j.several = true
		several[j.first], several[s] = true, true
	})
	if err != nil || len(several) == 0 {
		return err
	}
	return c.jobs.each(part, c.block, func(fact []byte) {
		s := submission{identAt(fact, 0), word(fact, 40), word(fact, 32)}
		j, _ := c.states.get(c.mixer.id(s.job), s.job)
		if j == nil || !j.several || s.stream == 0 || eventCode(fact[24]) == codeSubmitted || !several[s] {
			return
		}
		j.disputed = j.disputed || j.proven != (submission{}) && j.proven != s
		j.proven = s
	})
}

// foreign reports whether a record contradicts the job's submission.
func (j *jobState) foreign(subject uint64) bool {
	if j.proven != (submission{}) && !j.disputed {
		return subject != j.proven.subject
	}
	return j.submitted && subject != j.first.subject
}

func foreignNote(typ eventCode, index uint64, job ident) Finding {
	f := finding(Foreign, index, index)
	f.Job = job.uuid()
	f.Found = "an event"
	if typ != codeUnknown {
		f.Found = string(codes[typ].typ)
	}
	f.Found += " of another organization, action, root or correlation than the job's submission has"
	return f
}
