package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"coffer/api-tests/servers"
)

// results are the figures of each row and contestant, in the order in which they were measured.
type results map[string]map[string][]float64

func (r results) add(row, target string, value float64) {
	if r[row] == nil {
		r[row] = map[string][]float64{}
	}
	r[row][target] = append(r[row][target], value)
}

// median of the figures, and whether there are any.
func (r results) median(row, target string) (float64, bool) {
	values := slices.Sorted(slices.Values(r[row][target]))
	n := len(values)
	switch {
	case n == 0:
		return 0, false
	case n%2 == 1:
		return values[n/2], true
	default:
		return (values[n/2-1] + values[n/2]) / 2, true
	}
}

// budget is what coffer must reach in a row. A limit of 0 is none.
type budget struct {
	Row       string  `json:"row"`
	What      string  `json:"what"`
	Unit      string  `json:"unit"`
	OverVault float64 `json:"over_vault,omitempty"` // At least so many times Vault's figure.
	OverBare  float64 `json:"over_bare,omitempty"`  // At least so many times the bare handler's figure.
	AtMost    float64 `json:"at_most,omitempty"`    // At most this, in Unit.
}

// budgets are those of docs/architecture.md, in its order.
func budgets(o options) []budget {
	list := []budget{
		{Row: "read", What: "KV v2 read, 16 connections", Unit: "/s", OverVault: 4, OverBare: 0.6},
		{Row: "write16", What: "KV v2 write, durable, 16 connections", Unit: "/s", OverVault: 5},
		{Row: "write1", What: "KV v2 write, durable, 1 connection", Unit: "/s", OverVault: 2.5},
		{Row: "login", What: "AppRole login, 16 connections", Unit: "/s", OverVault: 6},
		{Row: "triple", What: "AppRole login + lookup-self + revoke-self, 16 connections", Unit: "/s", OverVault: 5},
		{Row: "kube", What: "Kubernetes login + lookup-self + revoke-self; bare: TokenReview alone", Unit: "/s", OverVault: 5},
		{Row: "apiserver", What: "the same, real kube-apiserver; bare: its TokenReview alone", Unit: "/s"},
		{Row: "userpass", What: "userpass login, 4 connections, against bare bcrypt", Unit: "/s", OverBare: 0.9},
		{Row: "flood", What: "p99 of a read while users log in, against alone", Unit: "×", AtMost: 5},
		{Row: "memory idle", What: "resident memory, idle after unseal", Unit: "MB", AtMost: 30},
		{Row: "memory after load", What: "resident memory, after load", Unit: "MB", AtMost: 80},
	}
	list = append(list,
		budget{Row: "flat: data", Unit: "%", AtMost: 10,
			What: fmt.Sprintf("data file, growth from Kubernetes triple 1,000 to %d", o.triples)},
		budget{Row: "flat: memory", Unit: "%", AtMost: 10,
			What: fmt.Sprintf("resident memory, growth from Kubernetes triple 1,000 to %d", o.triples)},
		budget{Row: "expiry: data", Unit: "%", AtMost: 10,
			What: fmt.Sprintf("data file, growth from Kubernetes login %d to %d, all expired", o.expiries/waves, o.expiries)},
		budget{Row: "expiry: memory", Unit: "%", AtMost: 10,
			What: fmt.Sprintf("resident memory, growth from Kubernetes login %d to %d, all expired", o.expiries/waves, o.expiries)})
	for _, form := range servers.Bodies() {
		body := form.Name
		list = append(list,
			budget{Row: "bodies: " + body, What: "peak memory, 40 × 31 MB: " + body, Unit: "MB", AtMost: 300})
	}
	return append(list,
		budget{Row: "start", What: "start to serving sys/health", Unit: "ms", AtMost: 150},
		budget{Row: "size", What: "binary, stripped", Unit: "MB", AtMost: 45},
		budget{Row: "leases", What: fmt.Sprintf("unseal to serving, %d live leases", o.leases), Unit: "s", AtMost: 2},
	)
}

// line is one row of the report. A figure that was not measured is nil.
type line struct {
	budget
	Coffer *float64 `json:"coffer"`
	Vault  *float64 `json:"vault"`
	Bare   *float64 `json:"bare"`
	Pass   *bool    `json:"pass"` // nil: not measured, or no budget.
}

type report struct {
	System string `json:"system"`
	Lines  []line `json:"lines"`
}

// judge holds the medians against the budgets.
func judge(found results, o options) report {
	system := fmt.Sprintf("%s/%s, %d CPUs, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	r := report{System: system}
	for _, b := range budgets(o) {
		if len(found[b.Row]) == 0 {
			continue
		}
		l := line{budget: b}
		for _, figure := range []struct {
			target string
			into   **float64
		}{{"coffer", &l.Coffer}, {"vault", &l.Vault}, {"bare", &l.Bare}} {
			if value, ok := found.median(b.Row, figure.target); ok {
				*figure.into = &value
			}
		}
		l.Pass = l.verdict()
		r.Lines = append(r.Lines, l)
	}
	return r
}

// verdict is nil when a figure that the budget needs is missing, or there is no budget.
func (l line) verdict() *bool {
	if l.limits() == "" {
		return nil
	}
	pass := l.Coffer != nil
	if l.OverVault > 0 {
		pass = pass && l.Vault != nil
	}
	if l.OverBare > 0 {
		pass = pass && l.Bare != nil
	}
	if !pass {
		return nil
	}
	if l.OverVault > 0 && *l.Coffer < l.OverVault**l.Vault {
		pass = false
	}
	if l.OverBare > 0 && *l.Coffer < l.OverBare**l.Bare {
		pass = false
	}
	if l.AtMost > 0 && *l.Coffer > l.AtMost {
		pass = false
	}
	return &pass
}

// print writes the table.
func (r report) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\n\nwhat\tcoffer\tVault\tbare\tratio\tbudget\t\n", r.System)
	for _, l := range r.Lines {
		mark := "not measured"
		switch {
		case l.Pass != nil:
			mark = map[bool]string{true: "pass", false: "MISS"}[*l.Pass]
		case l.limits() == "":
			mark = "no budget"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.What, l.figure(l.Coffer), l.figure(l.Vault), l.figure(l.Bare),
			l.ratios(), l.limits(), mark)
	}
	return w.Flush()
}

func (l line) figure(v *float64) string {
	switch {
	case v == nil:
		return "–"
	case l.Unit == "/s":
		return fmt.Sprintf("%.0f/s", *v)
	case l.Unit == "s":
		return fmt.Sprintf("%.2f s", *v)
	default:
		return fmt.Sprintf("%.1f %s", *v, l.Unit)
	}
}

func (l line) ratios() string {
	if l.Unit == "%" {
		return "–" // Two growths have none: either may be 0 or less.
	}
	var parts []string
	if l.Coffer != nil && l.Vault != nil && *l.Vault > 0 {
		parts = append(parts, fmt.Sprintf("%.2f × Vault", *l.Coffer / *l.Vault))
	}
	if l.Coffer != nil && l.Bare != nil && *l.Bare > 0 {
		parts = append(parts, fmt.Sprintf("%.0f %% of bare", 100**l.Coffer / *l.Bare))
	}
	if parts == nil {
		return "–"
	}
	return strings.Join(parts, ", ")
}

func (l line) limits() string {
	var parts []string
	if l.OverVault > 0 {
		parts = append(parts, fmt.Sprintf("≥ %g × Vault", l.OverVault))
	}
	if l.OverBare > 0 {
		parts = append(parts, fmt.Sprintf("≥ %.0f %% of bare", 100*l.OverBare))
	}
	if l.AtMost > 0 {
		parts = append(parts, fmt.Sprintf("≤ %g %s", l.AtMost, l.Unit))
	}
	return strings.Join(parts, ", ")
}
