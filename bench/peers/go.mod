module github.com/jobaudit/jobaudit/bench/peers

go 1.26

require (
	github.com/google/uuid v1.6.0
	github.com/hashicorp/eventlogger v0.2.10
	github.com/jobaudit/jobaudit v0.0.0
	github.com/jobaudit/jobaudit/bench v0.0.0
	github.com/showa-93/go-mask v0.6.2
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/hashicorp/errwrap v1.0.0 // indirect
	github.com/hashicorp/go-multierror v1.1.1 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/mod v0.40.0 // indirect
)

replace (
	github.com/jobaudit/jobaudit => ../..
	github.com/jobaudit/jobaudit/bench => ..
)
