// Package exporttest holds package export to readers that others wrote. It has
// tests only, in a module of its own, as what they need is large:
//
//   - leodido/go-syslog parses RFC 5424 strictly, and RFC 5425's framing.
//   - cloudevents/sdk-go validates CloudEvents as its specification says.
//   - go.opentelemetry.io/proto/otlp is OTLP as it is defined, and the collector's
//     otlpreceiver is what most programs receive it with.
//   - santhosh-tekuri/jsonschema checks OCSF and ECS against JSON Schemas that the
//     tests make of the projects' own tables, in testdata.
//   - Python's csv module and liblognorm, which rsyslog reads CEF with, are
//     programs: make test-extra installs them.
//
// testdata/ocsf is from github.com/ocsf/ocsf-schema, 1.9.0-dev, and testdata/ecs
// from github.com/elastic/ecs, 9.5.0-dev, both under the Apache License 2.0, which
// lies beside them. The dictionary is packed, as it is. Of OCSF's objects those are there that an export may use.
package exporttest
