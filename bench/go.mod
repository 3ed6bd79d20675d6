module github.com/jobaudit/jobaudit/bench

go 1.26

require (
	github.com/google/uuid v1.6.0
	github.com/jobaudit/jobaudit v0.0.0
	golang.org/x/mod v0.40.0
)

replace github.com/jobaudit/jobaudit => ../
