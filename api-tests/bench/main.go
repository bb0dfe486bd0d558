// Command bench measures coffer side by side with HashiCorp Vault 1.21.2 and a bare net/http handler: the same machine,
// the same load generator, one run, the contestants taking turns. It prints medians, their ratios and whether coffer
// keeps its budgets (docs/architecture.md).
//
// The rows about Kubernetes logins (kube, flat, expiry) have a stand-in for the API server in this process, which answers
// TokenReviews and costs next to nothing: what differs is the servers' own work. In the row apiserver a real
// kube-apiserver answers. Vault has its Kubernetes auth from HashiCorp's plugin, in a process of its own, while official
// builds have it inside; the row triple, whose login is AppRole's, is the comparison without that.
//
// Usage (make bench):
//
//	go run ./api-tests/bench [-quick] [-rows=read,write16,…] [-targets=coffer,vault,bare] [-json=FILE]
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

// allRows in the order in which they are measured and printed.
const allRows = "read,write16,write1,triple,kube,memory,login,userpass,flood,apiserver,flat,expiry,bodies,start,size,leases"

// options is what the flags say.
type options struct {
	duration time.Duration // Of one measurement of one contestant.
	rounds   int
	leases   int
	triples  int
	expiries int
	rows     []string
	targets  []string
	jsonFile string
}

func main() {
	bare := flag.Bool("serve-bare", false, "internal: be the bare handler")
	duration := flag.Duration("duration", 4*time.Second, "length of one measurement of one contestant")
	rounds := flag.Int("rounds", 3, "measurements of each contestant; the median counts")
	leases := flag.Int("leases", 100_000, "live leases for the row \"leases\"")
	triples := flag.Int("triples", 100_000, "short-lived tokens for the row \"flat\"")
	expiries := flag.Int("expiries", 60_000, "logins that are left to expire for the row \"expiry\"")
	quick := flag.Bool("quick", false, "some minutes: short measurements, a tenth of what is counted")
	rows := flag.String("rows", allRows, "which rows to measure")
	targets := flag.String("targets", "coffer,vault,bare", "who takes part")
	jsonFile := flag.String("json", "", "also write the result to this `file`, as JSON")
	flag.Parse()
	if *bare {
		exit(serveBare(os.Stdin, os.Stdout))
	}
	o := options{duration: *duration, rounds: *rounds, leases: *leases, triples: *triples, expiries: *expiries,
		jsonFile: *jsonFile, rows: strings.Split(*rows, ","), targets: strings.Split(*targets, ",")}
	if *quick {
		o.duration, o.leases, o.triples, o.expiries = time.Second, 10_000, 10_000, 6_000
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	exit(run(ctx, o))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// run measures every wanted row and prints the table. A missed budget is no error.
func run(ctx context.Context, o options) (err error) {
	for _, row := range o.rows {
		if !slices.Contains(strings.Split(allRows, ","), row) {
			return fmt.Errorf("-rows: %q is none of %s", row, allRows)
		}
	}
	fmt.Fprintln(os.Stderr, "bench: building (the first time, Vault takes minutes)")
	contestants, err := startField(ctx, o.targets)
	if err != nil {
		return err
	}
	defer contestants.close()
	found := results{}
	if err := measureThroughput(ctx, o, contestants, found, daily()); err != nil {
		return err
	}
	if err := measureRows(ctx, o, contestants, found); err != nil {
		return err
	}
	report := judge(found, o)
	if err := report.print(os.Stdout); err != nil {
		return err
	}
	return report.save(o.jsonFile)
}

// measureRows measures what is not the throughput of a day.
func measureRows(ctx context.Context, o options, contestants *field, found results) error {
	for _, row := range []struct {
		name    string
		measure func(context.Context, options, *field, results) error
	}{
		{"kube", measureKube}, {"memory", measureMemory}, {"login", measureLogins}, {"userpass", measureUserpass},
		{"flood", measureFlood}, {"apiserver", measureAPIServer}, {"flat", measureFlat}, {"expiry", measureExpiry},
		{"bodies", measureBodies}, {"start", measureStart}, {"size", measureSize}, {"leases", measureLeases},
	} {
		if !slices.Contains(o.rows, row.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, "bench:", row.name)
		if err := row.measure(ctx, o, contestants, found); err != nil {
			return fmt.Errorf("%s: %w", row.name, err)
		}
	}
	return nil
}

// save writes the report as JSON; an empty name means that nobody wants it.
func (r report) save(name string) error {
	if name == "" {
		return nil
	}
	encoded, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(encoded, '\n'), 0o644)
}
