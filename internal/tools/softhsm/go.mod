module github.com/jobaudit/jobaudit/internal/tools/softhsm

go 1.26

require (
	github.com/jobaudit/jobaudit v0.0.0
	github.com/miekg/pkcs11 v1.1.1
	github.com/stretchr/testify v1.12.1
	golang.org/x/mod v0.40.0
)

require (
	github.com/google/uuid v1.6.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)

replace github.com/jobaudit/jobaudit => ../../..
