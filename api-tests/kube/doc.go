// Package kube tests what coffer is for: the stock External Secrets Operator, on a real Kubernetes API server, logs in
// with a ServiceAccount and turns coffer's secrets into Kubernetes Secrets.
//
// What is expected here was settled by asking the stock Vault with HashiCorp's own Kubernetes plugin:
//
//	go test ./api-tests/kube -against=vault
package kube
