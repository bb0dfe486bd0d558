# Every key that coffer uses, each away from its default.
cluster_name         = "home"
api_addr             = "https://vault.example.com:8200/"
cluster_addr         = "vault.example.com:8201"
ui                   = "1"
disable_mlock        = true
raw_storage_endpoint = true
pid_file             = "coffer.pid"
log_level            = "Trace"
log_format           = "JSON"
log_file             = "logs/"
default_lease_ttl    = "1h"
max_lease_ttl        = 7200

seal "shamir" {}

storage "bolt" {
  path = "testdata/empty"
}

listener "tcp" {
  address                               = "0.0.0.0:443"
  cluster_address                       = ":444"
  tls_cert_file                         = "testdata/cert.pem"
  tls_key_file                          = "testdata/key.pem"
  tls_client_ca_file                    = "testdata/cert.pem"
  tls_min_version                       = "tls13"
  tls_max_version                       = "tls13"
  tls_cipher_suites                     = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
  tls_require_and_verify_client_cert    = "true"
  max_request_size                      = "1MiB"
  max_request_duration                  = "5s"
  max_json_depth                        = 10
  max_json_string_value_length          = 11
  max_json_object_entry_count           = 12
  max_json_array_element_count          = 13
  max_json_token                        = 14
  http_read_header_timeout              = "1s"
  http_read_timeout                     = 2
  http_write_timeout                    = "3"
  http_idle_timeout                     = "1m"
  x_forwarded_for_authorized_addrs      = ["10.0.0.0/8", "::1"]
  x_forwarded_for_hop_skips             = 1
  x_forwarded_for_reject_not_present    = false
  x_forwarded_for_reject_not_authorized = "false"
  require_request_header                = true
}

listener "tcp" {
  address                          = "127.0.0.1:8200"
  tls_disable                      = true
  x_forwarded_for_authorized_addrs = "192.0.2.1, 192.0.2.7/24"
  telemetry {
    unauthenticated_metrics_access = true
  }
}

telemetry {
  prometheus_retention_time = "1d"
  disable_hostname          = true
  metrics_prefix            = "coffer"
}

user_lockout "all" {
  lockout_threshold     = "10"
  lockout_duration      = "10m"
  lockout_counter_reset = "11m"
}

user_lockout "userpass" {
  lockout_threshold = 3
  disable_lockout   = true
}
