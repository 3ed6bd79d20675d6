// Package kubetest reads the Kubernetes manifests in our documentation as an API server
// does, and gives their commands to our programs. It is a module of its own for
// k8s.io/api, the types that the API server itself decodes manifests into.
package kubetest
