// Package house knows what this repository is made of: its files and its
// modules. Its tests hold the rules that no compiler checks: who may import
// whom, what the root may depend on, what is documented, which words we use.
package house
