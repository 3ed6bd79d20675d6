// Package jobaudit gives every background job a definitive, immutable,
// verifiable audit record: who ran what, when, where and why.
package jobaudit
