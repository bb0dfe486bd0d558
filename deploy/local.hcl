# The server of `make run`: plain HTTP on this machine alone, data in .coffer/ of the working directory.
# Not for production: docs/operations.md shows a configuration with TLS.

storage "bolt" {
  path = ".coffer/data"
}

listener "tcp" {
  address     = "127.0.0.1:8200"
  tls_disable = true
}

api_addr      = "http://127.0.0.1:8200"
disable_mlock = true
