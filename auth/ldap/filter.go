package ldap

import (
	"errors"
	"fmt"
	"strings"
	"text/template/parse"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
)

// maxFilter bounds a filter template, in bytes.
const maxFilter = 8 << 10

// Why a filter template is refused.
var (
	errFilterLong   = errors.New("the filter is too long")
	errFilterPart   = errors.New("only the fields of a filter can stand in {{ }}")
	errFilterPlace  = errors.New("a name can stand only where a filter has a value")
	errFilterSyntax = errors.New("the filter is malformed")
)

// filter is a filter of RFC 4515 with places for values: what Vault writes as a Go template, of which it takes
// the plain fields and no other action, so that a filter is always as long as what is put into it.
type filter []part

// part is a text, or the place of a field.
type part struct{ text, field string }

// parseFilter reads a template whose places are for the named fields. Filters in a row within parentheses, which
// RFC 4515 does not know, all have to match.
func parseFilter(text string, fields ...string) (filter, error) {
	if len(text) > maxFilter {
		return nil, errFilterLong
	}
	f, err := parseStrict(text, fields)
	if errors.Is(err, errFilterSyntax) {
		if joined := conjoined(text); joined != text {
			f, err = parseStrict(joined, fields)
		}
	}
	return f, err
}

// conjoined writes "((a=b)(c=d))" as "(&(a=b)(c=d))", wherever a filter can stand. What is in an assertion, a "(" of a
// value as well, stays as it is.
func conjoined(text string) string {
	var b strings.Builder
	assertion := false
	for i, c := range []byte(text) {
		b.WriteByte(c)
		switch {
		case c == ')':
			assertion = false
		case assertion, c == '&', c == '|', c == '!':
		case c != '(':
			assertion = true
		case strings.HasPrefix(text[i+1:], "("):
			b.WriteByte('&')
		}
	}
	return b.String()
}

// parseStrict reads a template of a filter as RFC 4515 has it.
func parseStrict(text string, fields []string) (filter, error) {
	trees, err := parse.Parse("filter", text, "", "")
	if err != nil {
		return nil, errFilterSyntax
	}
	var f filter
	tree := trees["filter"]
	if tree == nil || len(trees) != 1 {
		return nil, errFilterPart
	}
	for _, node := range tree.Root.Nodes {
		p, err := partOf(node, fields)
		if err != nil {
			return nil, err
		}
		f = append(f, p)
	}
	// What comes from outside must have its place in a value: in an attribute's place ">" would be an operator.
	plain, err := f.form("x")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFilterSyntax, err)
	}
	if odd, err := f.form("x:dn:>=~=*()\\"); err != nil || odd != plain {
		return nil, errFilterPlace
	}
	return f, nil
}

// form is what is left of the filter's structure without its texts, for a value that stands in every place but
// that of the attribute, which the operator sets.
func (f filter) form(value string) (string, error) {
	compiled, err := goldap.CompileFilter(f.with(map[string]string{
		"UserAttr": "x", "Username": value, "UserDN": value}))
	if err != nil {
		return "", err
	}
	return shape(compiled), nil
}

func shape(p *ber.Packet) string {
	text := fmt.Sprint(p.ClassType, " ", p.Tag)
	for _, c := range p.Children {
		text += "(" + shape(c) + ")"
	}
	return text
}

func partOf(node parse.Node, fields []string) (part, error) {
	switch n := node.(type) {
	case *parse.TextNode:
		return part{text: string(n.Text)}, nil
	case *parse.ActionNode:
		if len(n.Pipe.Decl) == 0 && len(n.Pipe.Cmds) == 1 && len(n.Pipe.Cmds[0].Args) == 1 {
			if f, ok := n.Pipe.Cmds[0].Args[0].(*parse.FieldNode); ok && len(f.Ident) == 1 {
				for _, field := range fields {
					if f.Ident[0] == field {
						return part{field: field}, nil
					}
				}
			}
		}
	}
	return part{}, errFilterPart
}

// with puts values into their places, escaped as RFC 4515 asks: none of them can end its place or match more
// than itself.
func (f filter) with(values map[string]string) string {
	var b strings.Builder
	for _, p := range f {
		b.WriteString(p.text)
		if p.field != "" {
			b.WriteString(goldap.EscapeFilter(values[p.field]))
		}
	}
	return b.String()
}
