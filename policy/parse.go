package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/hcl"
	"github.com/hashicorp/hcl/hcl/ast"
)

// maxRules bounds the path rules of one policy.
const maxRules = 10_000

// Parse reads a policy in HCL or JSON. The name is kept as given; see Canonicalize.
//
// It returns ErrInvalid with Vault's text for what Vault refuses (sys/policies/acl), and for texts over
// 1 MiB, nested deeper than 64 levels, with more than 10,000 rules or 200,000 words.
func Parse(name, text string) (*Policy, error) {
	rules, err := parseRules(text)
	if err != nil {
		return nil, &textError{kind: ErrInvalid, text: "failed to parse policy: " + err.Error()}
	}
	p := &Policy{Name: name, Text: text, Rules: rules}
	for i := range rules {
		p.Templated = p.Templated || rules[i].Templated
	}
	return p, nil
}

func parseRules(text string) ([]Rule, error) {
	list, err := parseSyntax(text)
	if err != nil {
		return nil, err
	}
	if err := checkKeys(list, "", "name", "path"); err != nil {
		return nil, err
	}
	var head struct {
		Name string `hcl:"name"`
	}
	if err := hcl.DecodeObject(&head, list); err != nil {
		return nil, err
	}
	items := list.Filter("path").Items
	if len(items) > maxRules {
		return nil, fmt.Errorf("more than %d path rules", maxRules)
	}
	rules := make([]Rule, 0, len(items))
	for _, item := range items {
		rule, err := parseRule(item)
		if err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// parseSyntax checks the bounds and parses the text to its top-level items.
func parseSyntax(text string) (list *ast.ObjectList, err error) {
	if err := checkBounds(text); err != nil {
		return nil, err
	}
	// The parser is an old library fed with foreign bytes: a panic in it must not end the server.
	defer func() {
		if recover() != nil {
			list, err = nil, errors.New("malformed text")
		}
	}()
	file, err := hcl.Parse(text)
	if err != nil {
		return nil, err
	}
	list, ok := file.Node.(*ast.ObjectList)
	if !ok || list == nil {
		return nil, errors.New("does not contain a root object")
	}
	return list, nil
}

// Values reads a text in HCL or JSON that is no ACL policy, within the bounds of Parse: blocks become lists of maps, so
// that both notations have one form. A value that is there twice is refused. The error has the parser's text.
func Values(text string) (values map[string]any, err error) {
	list, err := parseSyntax(text)
	if err != nil {
		return nil, err
	}
	if key := doubled(list); key != "" {
		return nil, fmt.Errorf("%q is there twice", key)
	}
	defer func() {
		if recover() != nil {
			values, err = nil, errors.New("malformed text")
		}
	}()
	if err := hcl.DecodeObject(&values, list); err != nil {
		return nil, err
	}
	return values, nil
}

// doubled is a key that has two values in one object, "" if there is none: HCL's own parser refuses it, the one of JSON
// does not. Objects under one key are a list.
func doubled(list *ast.ObjectList) string {
	seen := make(map[string]bool) // whether the value was a plain one
	for _, item := range list.Items {
		object, isObject := item.Val.(*ast.ObjectType)
		if isObject {
			if key := doubled(object.List); key != "" {
				return key
			}
		}
		if len(item.Keys) == 0 {
			continue
		}
		key := keyText(item.Keys[0])
		if plain, again := seen[key]; again && (plain || !isObject) {
			return key
		}
		seen[key] = !isObject
	}
	return ""
}

// rawRule is a path rule as HCL decodes it. Field names show in the texts of HCL's errors, therefore
// Policy and Capabilities have no tag: that is what clients of Vault see.
type rawRule struct {
	Policy       string
	Capabilities []string
	Allowed      map[string][]any `hcl:"allowed_parameters"`
	Denied       map[string][]any `hcl:"denied_parameters"`
	Required     []string         `hcl:"required_parameters"`
	MinWrapping  any              `hcl:"min_wrapping_ttl"`
	MaxWrapping  any              `hcl:"max_wrapping_ttl"`
	MFAMethods   []string         `hcl:"mfa_methods"`
	ControlGroup *rawControlGroup `hcl:"control_group"`
	Events       []string         `hcl:"subscribe_event_types"`
	Expiration   string           `hcl:"expiration"`
	Hours        []string         `hcl:"hours"`
}

// ruleKeys are the keys of a path rule. Of these mfa_methods, control_group, subscribe_event_types and
// comment are read and have no effect, as in Vault's community edition.
var ruleKeys = []string{
	"comment", "policy", "capabilities", "allowed_parameters", "denied_parameters", "required_parameters",
	"min_wrapping_ttl", "max_wrapping_ttl", "mfa_methods", "control_group", "subscribe_event_types",
	"expiration", "hours",
}

func parseRule(item *ast.ObjectItem) (Rule, error) {
	path := "path"
	if len(item.Keys) > 0 {
		path = keyText(item.Keys[0])
	}
	if err := checkItemKeys(item.Val, fmt.Sprintf("path %q:", path), ruleKeys...); err != nil {
		return Rule{}, err
	}
	var raw rawRule
	if err := decodeRule(&raw, item.Val); err != nil {
		return Rule{}, fmt.Errorf("path %q: %w", path, err)
	}
	rule := Rule{Path: strings.TrimPrefix(path, "/")}
	var err error
	if rule.Templated, err = hasTemplate(rule.Path); err != nil {
		return Rule{}, fmt.Errorf("failed to validate policy templating: %w", err)
	}
	if strings.Contains(rule.Path, "+*") {
		return Rule{}, fmt.Errorf("path %q: invalid use of wildcards ('+*' is forbidden)", path)
	}
	if rule.Capabilities, err = parseCapabilities(&raw); err != nil {
		return Rule{}, fmt.Errorf("path %q: %w", path, err)
	}
	rule.Allowed, rule.Denied = lowerKeys(raw.Allowed), lowerKeys(raw.Denied)
	rule.Required = raw.Required
	if err := parseWrapping(&rule, &raw); err != nil {
		return Rule{}, err
	}
	if err := raw.ControlGroup.check(); err != nil {
		return Rule{}, err
	}
	if err := parseTimes(&rule, &raw); err != nil {
		return Rule{}, fmt.Errorf("path %q: %w", path, err)
	}
	return rule, nil
}

// decodeRule guards against panics in HCL's reflective decoder, as parseSyntax does for its parser.
func decodeRule(raw *rawRule, node ast.Node) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("malformed rule")
		}
	}()
	return hcl.DecodeObject(raw, node)
}

func parseCapabilities(raw *rawRule) (Capability, error) {
	var caps Capability
	switch raw.Policy {
	case "":
	case "deny":
		caps = Deny
	case "read":
		caps = Read | List
	case "write":
		caps = Create | Read | Update | Delete | List
	case "sudo":
		caps = Create | Read | Update | Delete | List | Sudo
	default:
		return 0, fmt.Errorf("invalid policy %q", raw.Policy)
	}
	for _, name := range raw.Capabilities {
		c, ok := capabilityNamed(name)
		if !ok {
			return 0, fmt.Errorf("invalid capability %q", name)
		}
		caps |= c
	}
	if caps.Has(Deny) {
		caps = Deny
	}
	return caps, nil
}

func parseWrapping(rule *Rule, raw *rawRule) error {
	var err error
	if rule.MinWrappingTTL, err = parseDuration(raw.MinWrapping); err != nil {
		return fmt.Errorf("error parsing min_wrapping_ttl: %w", err)
	}
	if rule.MaxWrappingTTL, err = parseDuration(raw.MaxWrapping); err != nil {
		return fmt.Errorf("error parsing max_wrapping_ttl: %w", err)
	}
	if rule.MinWrappingTTL > 0 && rule.MaxWrappingTTL > 0 && rule.MaxWrappingTTL < rule.MinWrappingTTL {
		return errors.New("max_wrapping_ttl cannot be less than min_wrapping_ttl")
	}
	return nil
}

// parseDuration reads a duration; nothing, and what is below zero, is zero.
func parseDuration(value any) (time.Duration, error) {
	if value == nil {
		return 0, nil
	}
	d, err := parseutil.ParseDurationSecond(value)
	if err != nil {
		return 0, err
	}
	return max(d, 0), nil
}

func parseTimes(rule *Rule, raw *rawRule) error {
	if raw.Expiration != "" {
		at, err := time.Parse(time.RFC3339, raw.Expiration)
		if err != nil {
			return fmt.Errorf("expiration: %q is not an RFC 3339 time", raw.Expiration)
		}
		rule.Expiration = at
	}
	for _, text := range raw.Hours {
		w, err := ParseWindow(text)
		if err != nil {
			return fmt.Errorf("hours: %w", err)
		}
		rule.Hours = append(rule.Hours, w)
	}
	return nil
}

// lowerKeys makes parameter keys case-insensitive. Keys that differ in case only are merged: a key
// without values, which stands for any value, wins.
func lowerKeys(params map[string][]any) map[string][]any {
	if len(params) == 0 {
		return nil
	}
	lowered := make(map[string][]any, len(params))
	for key, values := range params {
		plain := make([]any, len(values))
		for i, v := range values {
			plain[i] = plainValue(v)
		}
		mergeKey(lowered, FoldASCII(key), plain)
	}
	return lowered
}

// plainValue undoes what HCL does to an object, which it decodes as a list of maps, so that values
// compare to those of a JSON body.
func plainValue(v any) any {
	switch v := v.(type) {
	case []map[string]any:
		if len(v) == 1 {
			return plainValue(v[0])
		}
		list := make([]any, len(v))
		for i := range v {
			list[i] = plainValue(v[i])
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(v))
		for key, value := range v {
			m[key] = plainValue(value)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plainValue(v[i])
		}
		return list
	default:
		return v
	}
}

// checkItemKeys refuses keys of an object that are not among valid.
func checkItemKeys(node ast.Node, prefix string, valid ...string) error {
	object, ok := node.(*ast.ObjectType)
	if !ok {
		return fmt.Errorf("%s cannot check HCL keys of type %T", prefix, node)
	}
	return checkKeys(object.List, prefix+" ", valid...)
}

// checkKeys names every key that is not among valid, in the form that several errors have in Vault.
func checkKeys(list *ast.ObjectList, prefix string, valid ...string) error {
	var bad []string
	for _, item := range list.Items {
		if len(item.Keys) == 0 {
			continue
		}
		if key := keyText(item.Keys[0]); !slices.Contains(valid, key) {
			bad = append(bad, fmt.Sprintf("%sinvalid key %q on line %d", prefix, key, item.Assign.Line))
		}
	}
	switch len(bad) {
	case 0:
		return nil
	case 1:
		return errors.New("1 error occurred:\n\t* " + bad[0] + "\n\n")
	default:
		return errors.New(strconv.Itoa(len(bad)) + " errors occurred:\n\t* " + strings.Join(bad, "\n\t* ") + "\n\n")
	}
}

func keyText(key *ast.ObjectKey) string {
	text, ok := key.Token.Value().(string)
	if !ok {
		return key.Token.Text
	}
	return text
}

// rawControlGroup is read to refuse what Vault refuses.
type rawControlGroup struct {
	TTL     any `hcl:"ttl"`
	Factors map[string]*struct {
		Identity *struct {
			GroupIDs   []string `hcl:"group_ids"`
			GroupNames []string `hcl:"group_names"`
			Approvals  int      `hcl:"approvals"`
		} `hcl:"identity"`
	} `hcl:"factor"`
}

func (g *rawControlGroup) check() error {
	if g == nil {
		return nil
	}
	if _, err := parseDuration(g.TTL); err != nil {
		return fmt.Errorf("error parsing control group max ttl: %w", err)
	}
	if len(g.Factors) == 0 {
		return errors.New("no control group factors provided")
	}
	for _, factor := range g.Factors {
		if factor == nil || factor.Identity == nil {
			return errors.New("no control_group factor provided")
		}
		id := factor.Identity
		if id.Approvals <= 0 || len(id.GroupIDs)+len(id.GroupNames) == 0 {
			return errors.New("must provide more than one identity group and approvals > 0")
		}
	}
	return nil
}
