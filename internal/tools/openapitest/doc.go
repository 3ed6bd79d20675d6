// Package openapitest compares docs/openapi.yaml with what package jobhttp takes
// and answers. It is a module of its own for libopenapi-validator, which knows
// OpenAPI 3.1 and checks requests and answers of net/http as they are.
package openapitest
