package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"sigs.k8s.io/yaml"
)

// errNoScheme follows an address.
var errNoScheme = errors.New("is no URL; it begins with http:// or https:// (or unix:// for a socket)")

const statusUsage = `Usage: coffer status [options]

Asks a server whether it is sealed. The exit code is 0 when it is unsealed, 2 when it is sealed, and 1
when it cannot be asked.

  -address=<url>          VAULT_ADDR; https://127.0.0.1:8200 by default
  -ca-cert=<file>         VAULT_CACERT
  -tls-server-name=<name> VAULT_TLS_SERVER_NAME
  -tls-skip-verify        VAULT_SKIP_VERIFY
  -format=<format>        table, json or yaml; VAULT_FORMAT
`

// statusTimeout bounds the whole command, as Vault's client timeout does.
const statusTimeout = time.Minute

type statusOptions struct {
	address    string
	caCert     string
	serverName string
	format     string
	skipVerify bool
}

// sealStatus is the part of GET /v1/sys/seal-status that the table shows.
type sealStatus struct {
	Type        string `json:"type"`
	Initialized bool   `json:"initialized"`
	Sealed      bool   `json:"sealed"`
	Threshold   int    `json:"t"`
	Shares      int    `json:"n"`
	Progress    int    `json:"progress"`
	Nonce       string `json:"nonce"`
	Version     string `json:"version"`
	BuildDate   string `json:"build_date"`
	StorageType string `json:"storage_type"`
	ClusterName string `json:"cluster_name"`
	ClusterID   string `json:"cluster_id"`
	HAEnabled   bool   `json:"ha_enabled"`
	// StorageError and DamagedRecords are coffer's own.
	StorageError   string `json:"storage_error"`
	DamagedRecords int    `json:"damaged_records"`
	autoStatus
}

// autoStatus is what is there to say of a seal that opens by itself.
type autoStatus struct {
	RecoverySeal     bool   `json:"recovery_seal"`
	RecoverySealType string `json:"recovery_seal_type"`
	Migration        bool   `json:"migration"`
}

// status is the command "coffer status"; the probes of Vault's Helm chart call it, and its test wants YAML.
func (p *process) status(ctx context.Context, args []string) int {
	o, err := parseStatusFlags(args, p.env)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(p.stdout, statusUsage)
		return exitOK
	}
	if err != nil {
		fmt.Fprintf(p.stderr, "%v\n", err)
		return exitError
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	body, err := o.ask(ctx)
	var s sealStatus
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	if err == nil {
		err = s.write(p.stdout, o.format, body)
	}
	if err != nil {
		fmt.Fprintf(p.stderr, "Error checking seal status: %v\n", err)
		return exitError
	}
	if s.Sealed {
		return exitSealed
	}
	return exitOK
}

func parseStatusFlags(args []string, env func(string) string) (*statusOptions, error) {
	or := func(name, fallback string) string {
		if text := env(name); text != "" {
			return text
		}
		return fallback
	}
	// What is no boolean does not turn verification off.
	skip, _ := strconv.ParseBool(env("VAULT_SKIP_VERIFY"))
	o := &statusOptions{}
	f := flag.NewFlagSet("status", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.address, "address", or("VAULT_ADDR", "https://127.0.0.1:8200"), "")
	f.StringVar(&o.caCert, "ca-cert", env("VAULT_CACERT"), "")
	f.StringVar(&o.serverName, "tls-server-name", env("VAULT_TLS_SERVER_NAME"), "")
	f.StringVar(&o.format, "format", or("VAULT_FORMAT", "table"), "")
	f.BoolVar(&o.skipVerify, "tls-skip-verify", skip, "")
	if err := parseFlags(f, args); err != nil {
		return nil, err
	}
	switch o.format {
	case "table", "json", "yaml", "yml":
		return o, nil
	}
	return nil, fmt.Errorf("-format: expected table, json or yaml, got %q", o.format)
}

// ask returns the server's answer, of at most a mebibyte.
func (o *statusOptions) ask(ctx context.Context) ([]byte, error) {
	//nolint:gosec // Skipping verification is what -tls-skip-verify asks for.
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.serverName, InsecureSkipVerify: o.skipVerify}
	if o.caCert != "" {
		pem, err := os.ReadFile(o.caCert)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s %w", o.caCert, errNoCA)
		}
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, ForceAttemptHTTP2: true, DisableKeepAlives: true,
	}
	address := o.address
	if socket, ok := strings.CutPrefix(address, "unix://"); ok {
		address, transport.Proxy = "http://localhost", nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}
	}
	if !strings.Contains(address, "://") {
		return nil, fmt.Errorf("%q %w", address, errNoScheme)
	}
	client := &http.Client{Transport: transport}
	url := strings.TrimRight(address, "/") + "/v1/sys/seal-status"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-Vault-Request", "true")
	response, err := client.Do(request)
	if err != nil {
		return nil, explainAsk(err)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		var said struct {
			Errors []string `json:"errors"`
		}
		_ = json.Unmarshal(body, &said) // without it, the status says enough
		return nil, fmt.Errorf("unexpected status %s %s", response.Status, strings.Join(said.Errors, ", "))
	}
	return body, nil
}

// explainAsk adds what to do about a server that cannot be asked.
func explainAsk(err error) error {
	switch {
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("%w; the server has no TLS there: set VAULT_ADDR to an address that begins with http://", err)
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return fmt.Errorf("%w; set VAULT_CACERT to a file with that authority's certificate", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w; nobody listens there: set VAULT_ADDR to the address that the server printed at its start", err)
	default:
		return err
	}
}

// orNA is what the table shows for a text.
func orNA(text string) string {
	if text == "" {
		return "n/a"
	}
	return text
}

// write writes the server's answer body, which s was read from, in a format of parseStatusFlags.
func (s *sealStatus) write(w io.Writer, format string, body []byte) error {
	switch format {
	case "json":
		fmt.Fprintf(w, "%s\n", strings.TrimSpace(string(body)))
	case "yaml", "yml":
		text, err := yaml.JSONToYAML(body)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s", text)
	default:
		s.print(w)
	}
	return nil
}

// print writes the table of Vault's status command.
func (s *sealStatus) print(w io.Writer) {
	rows := [][2]string{
		{"Key", "Value"},
		{"---", "-----"},
		{"Seal Type", s.Type},
	}
	shares := "Total Shares"
	if s.RecoverySeal {
		shares = "Total Recovery Shares"
		rows = append(rows, [2]string{"Recovery Seal Type", orNA(s.RecoverySealType)})
	}
	rows = append(rows, [2]string{"Initialized", strconv.FormatBool(s.Initialized)},
		[2]string{"Sealed", strconv.FormatBool(s.Sealed)}, [2]string{shares, strconv.Itoa(s.Shares)},
		[2]string{"Threshold", strconv.Itoa(s.Threshold)})
	if s.Sealed {
		rows = append(rows, [2]string{"Unseal Progress", fmt.Sprintf("%d/%d", s.Progress, s.Threshold)},
			[2]string{"Unseal Nonce", orNA(s.Nonce)})
	}
	if s.Migration {
		rows = append(rows, [2]string{"Seal Migration in Progress", "true"})
	}
	rows = append(rows, [2]string{"Version", s.Version}, [2]string{"Build Date", s.BuildDate},
		[2]string{"Storage Type", s.StorageType})
	if s.ClusterName != "" {
		rows = append(rows, [2]string{"Cluster Name", s.ClusterName}, [2]string{"Cluster ID", s.ClusterID})
	}
	rows = append(rows, [2]string{"HA Enabled", strconv.FormatBool(s.HAEnabled)})
	if s.StorageError != "" {
		rows = append(rows, [2]string{"Storage Error", s.StorageError})
	}
	if s.DamagedRecords > 0 {
		rows = append(rows, [2]string{"Damaged Records", strconv.Itoa(s.DamagedRecords) + ", see sys/damaged"})
	}
	table := tabwriter.NewWriter(w, 0, 0, 4, ' ', 0)
	for _, row := range rows {
		fmt.Fprintf(table, "%s\t%s\n", row[0], row[1])
	}
	// Nobody is left to tell when the terminal is gone.
	_ = table.Flush()
}
