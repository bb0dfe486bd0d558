disable_mlock = true
ui = true

listener "tcp" {
  tls_disable = 1
  address = "[::]:8200"
  cluster_address = "[::]:8201"
  # Enable unauthenticated metrics access (necessary for Prometheus Operator)
  telemetry {
    unauthenticated_metrics_access = "true"
  }
}
storage "file" {
  path = "testdata/empty"
}

# Example configuration for enabling Prometheus metrics in your config.
telemetry {
  prometheus_retention_time = "30s"
  disable_hostname = true
}

service_registration "kubernetes" {}
