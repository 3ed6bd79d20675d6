module github.com/jobaudit/jobaudit/examples/errgroup

go 1.26.0

require (
	github.com/jobaudit/jobaudit v0.0.0
	github.com/stretchr/testify v1.12.1
	golang.org/x/sync v0.24.0
)

require (
	github.com/google/uuid v1.6.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/mod v0.40.0 // indirect
)

replace github.com/jobaudit/jobaudit => ../..
