package auditlog

// CountSteps has a verification count what it does to find heads and leaves.
func CountSteps(o *Options, steps *int) { o.steps = steps }
