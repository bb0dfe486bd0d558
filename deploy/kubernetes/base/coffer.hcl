storage "bolt" {
  path = "/vault/data"
}

# Plain HTTP inside the cluster. For TLS, mount a certificate and name it here: tls_cert_file, tls_key_file.
listener "tcp" {
  address     = "0.0.0.0:8200"
  tls_disable = true
}

# The key is the Secret coffer-seal: with it coffer opens itself after a restart. Keep a copy outside of the cluster.
seal "static" {
  current_key_id = "1"
  current_key    = "file:///vault/seal/key"
}

api_addr      = "http://coffer.coffer.svc:8200"
disable_mlock = true # The pod may not lock memory; a node of Kubernetes has no swap.
