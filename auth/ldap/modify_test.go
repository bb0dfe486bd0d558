package ldap_test

import (
	"slices"
	"strings"
	"sync"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/jimlambrt/gldap"
)

// passwords are those that were changed.
type passwords struct {
	mu sync.Mutex // guards what follows
	of map[string]string
}

func (p *passwords) get(dn string) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	text, ok := p.of[strings.ToLower(dn)]
	return text, ok
}

func (p *passwords) set(dn, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of[strings.ToLower(dn)] = text
}

// isPassword reports whether it is the password of an entry.
func (d *directory) isPassword(dn, text string) bool {
	if changed, ok := d.passwords.get(dn); ok {
		return text == changed
	}
	return slices.ContainsFunc(slices.Concat(tree, d.more), func(e entry) bool {
		return sameDN(e.dn, dn) && slices.Contains(e.values["userPassword"], text)
	})
}

// modify changes a password.
func (d *directory) modify(w *gldap.ResponseWriter, r *gldap.Request) {
	m, err := r.GetModifyMessage()
	if err != nil {
		return
	}
	do := func() int { return d.change(m) }
	var code int
	if d.onModify != nil {
		var silent bool
		if code, silent = d.onModify(do); silent {
			return
		}
	} else {
		code = do()
	}
	_ = w.Write(r.NewModifyResponse(gldap.WithResponseCode(code)))
}

func (d *directory) change(m *gldap.ModifyMessage) int {
	of := func(n int, operation int64, attribute string) string {
		if n >= len(m.Changes) || m.Changes[n].Operation != operation || m.Changes[n].Modification.Type != attribute ||
			len(m.Changes[n].Modification.Vals) != 1 {
			return ""
		}
		// gldap hands the set of values over as it came.
		value := ber.DecodePacket([]byte(m.Changes[n].Modification.Vals[0]))
		if value == nil {
			return ""
		}
		return value.Data.String()
	}
	const add, remove, replace = 0, 1, 2
	next := of(0, replace, "userPassword")
	if d.active {
		if !d.isPassword(m.DN, quoted(of(0, remove, "unicodePwd"))) {
			return gldap.ResultUnwillingToPerform
		}
		next = quoted(of(1, add, "unicodePwd"))
	}
	if next == "" {
		return gldap.ResultUnwillingToPerform
	}
	d.passwords.set(m.DN, next)
	return gldap.ResultSuccess
}

// quoted is the ASCII text between quotes in UTF-16, "" for anything else.
func quoted(text string) string {
	var b strings.Builder
	for i := 0; i+1 < len(text); i += 2 {
		if text[i+1] != 0 {
			return ""
		}
		b.WriteByte(text[i])
	}
	inner, ok := strings.CutPrefix(b.String(), `"`)
	inner, closed := strings.CutSuffix(inner, `"`)
	if !ok || !closed || len(text)%2 != 0 {
		return ""
	}
	return inner
}
