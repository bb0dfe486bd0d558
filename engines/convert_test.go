package engines_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"coffer/engines"
)

// Numbers that are too large for what they mean are refused; none wraps round.
func TestNumbersThatAreTooLarge(t *testing.T) {
	for _, text := range []string{
		"9223372036854775807", "-9223372036854775808", "9223372036", "4611686019", "-4611686019", "2000000h", "106751d",
		"99999999999999999999", "9223372036854775807d",
	} {
		for _, raw := range []any{text, json.Number(text)} {
			if d, err := engines.ParseDuration(raw); err == nil {
				t.Errorf("%v is %v", raw, d)
			}
			params, err := engines.Decode[struct {
				TTL time.Duration `param:"ttl"`
			}](map[string]any{"ttl": raw})
			if err == nil {
				t.Errorf("a parameter of %v is %v", raw, params.TTL)
			}
		}
	}
	for _, n := range []int64{math.MaxInt64, math.MinInt64, math.MaxInt64 / 1_000_000_000, 4611686019} {
		if d, err := engines.Seconds(n); err == nil {
			t.Errorf("%d s are %v", n, d)
		}
	}
	for _, n := range []int64{0, 1, -1, 4611686018} {
		if d, err := engines.Seconds(n); err != nil || int64(d/time.Second) != n {
			t.Errorf("%d s are %v, %v", n, d, err)
		}
	}
	if d, err := engines.ParseDuration("4611686018"); err != nil || 2*d < 0 {
		t.Errorf("the longest is %v, %v", d, err)
	}
	if _, err := engines.Decode[struct {
		N []int `param:"n"`
	}](map[string]any{"n": "9223372036854775808"}); err == nil {
		t.Error("a number beyond 64 bits is one")
	}
}
