package config

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/parser"
	"github.com/hashicorp/hcl/hcl/scanner"
	hclstrconv "github.com/hashicorp/hcl/hcl/strconv"
	"github.com/hashicorp/hcl/hcl/token"
)

// kind is what a value looks like in the file.
type kind string

const (
	kindString kind = "a string"
	kindNumber kind = "a number"
	kindBool   kind = "a boolean"
	kindNull   kind = "null"
	kindList   kind = "a list"
	kindBlock  kind = "a block"
)

// value is a node of a parsed file; HCL and JSON both become this.
type value struct {
	pos  Position
	kind kind
	// text is the unquoted string, the decimal number, or "true"/"false".
	text string
	// list holds the elements of a kindList, entries the members of a kindBlock, in order.
	list    []value
	entries []entry
}

// entry is `key = value`, or `key "label" { … }`.
type entry struct {
	key    string
	labels []string
	pos    Position
	value  value
}

// maxDepth bounds blocks and lists inside each other. Real configurations need four; the rest is room
// for HCL, where brackets in comments and strings count as well.
const maxDepth = 500

var errTooDeep = fmt.Errorf("more than %d blocks and lists inside each other", maxDepth)

// parse turns the text of one file into its top-level entries. Errors are *Error.
func parse(file string, src []byte) ([]entry, error) {
	src, err := plainText(file, src)
	if err != nil {
		return nil, err
	}
	if trimmed := bytes.TrimSpace(src); len(trimmed) > 0 && trimmed[0] == '{' {
		return parseJSON(file, src)
	}
	return parseHCL(file, src)
}

func parseHCL(file string, src []byte) ([]entry, error) {
	// The library recurses without a limit of its own.
	if nesting(src) > maxDepth {
		return nil, &Error{Position: Position{File: file}, Reason: errTooDeep.Error()}
	}
	tree, err := parseAST(src)
	if err != nil {
		return nil, syntaxError(file, src, err)
	}
	root, ok := tree.Node.(*ast.ObjectList)
	if !ok {
		return nil, &Error{Position: Position{File: file}, Reason: "expected keys and blocks"}
	}
	return hclEntries(file, root)
}

// nesting is an upper bound for the depth of src: brackets in strings and comments count as well.
func nesting(src []byte) int {
	depth, deepest := 0, 0
	for _, c := range src {
		switch c {
		case '{', '[':
			depth++
			deepest = max(deepest, depth)
		case '}', ']':
			depth = max(depth-1, 0)
		}
	}
	return deepest
}

// parseAST calls the library, which panics on some malformed input; that is an error of the file too.
func parseAST(src []byte) (tree *ast.File, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("malformed HCL")
		}
	}()
	if err := checkEnd(src); err != nil {
		return nil, err
	}
	// scope.take reports keys that are set twice, and knows the line.
	return parser.ParseDontErrorOnDuplicateKeys(src)
}

// checkEnd finds the one kind of cut-off file that the library accepts, dropping the last key: `key =`.
func checkEnd(src []byte) error {
	var last token.Token
	tokens := scanner.New(src)
	tokens.Error = func(token.Pos, string) {} // The parser reports it.
	for t := tokens.Scan(); t.Type != token.EOF && t.Type != token.ILLEGAL; t = tokens.Scan() {
		if t.Type != token.COMMENT {
			last = t
		}
	}
	if last.Type == token.ASSIGN {
		return &parser.PosError{Pos: last.Pos, Err: errors.New("expected a value, got the end of the file")}
	}
	return nil
}

// noValue is the error for a key without a value.
const noValue = `expected "=" or "{" after the key`

// syntaxError is the library's error with what was probably meant.
func syntaxError(file string, src []byte, err error) error {
	e := &Error{Position: Position{File: file}, Reason: err.Error()}
	at := (*parser.PosError)(nil)
	if !errors.As(err, &at) {
		return e
	}
	e.Line, e.Reason = at.Pos.Line, at.Err.Error()
	// The library repeats what may be part of a secret.
	switch {
	case strings.HasPrefix(e.Reason, "Unknown token"):
		e.Reason = "expected a value"
	case strings.HasPrefix(e.Reason, "key '"):
		e.Reason = noValue
	}
	if meant := explain(src, e.Line, e.Reason); meant != "" {
		e.Reason += ": " + meant
	}
	return e
}

func hclEntries(file string, list *ast.ObjectList) ([]entry, error) {
	entries := make([]entry, 0, len(list.Items))
	for _, item := range list.Items {
		if len(item.Keys) == 0 {
			return nil, &Error{Position: Position{File: file, Line: item.Val.Pos().Line}, Reason: "value without a key"}
		}
		e := entry{pos: Position{File: file, Line: item.Keys[0].Token.Pos.Line}}
		for i, k := range item.Keys {
			name, err := literal(k.Token)
			if err != nil {
				return nil, &Error{Position: e.pos, Reason: err.Error()}
			}
			if i == 0 {
				e.key = name.text
			} else {
				e.labels = append(e.labels, name.text)
			}
		}
		v, err := hclValue(file, item.Val)
		if err != nil {
			return nil, err
		}
		e.value = v
		entries = append(entries, e)
	}
	return entries, nil
}

func hclValue(file string, node ast.Node) (value, error) {
	pos := Position{File: file, Line: node.Pos().Line}
	switch n := node.(type) {
	case *ast.LiteralType:
		v, err := literal(n.Token)
		if err != nil {
			return value{}, &Error{Position: pos, Reason: err.Error()}
		}
		v.pos = pos
		return v, nil
	case *ast.ListType:
		v := value{pos: pos, kind: kindList}
		for _, element := range n.List {
			member, err := hclValue(file, element)
			if err != nil {
				return value{}, err
			}
			v.list = append(v.list, member)
		}
		return v, nil
	case *ast.ObjectType:
		entries, err := hclEntries(file, n.List)
		return value{pos: pos, kind: kindBlock, entries: entries}, err
	default:
		return value{}, &Error{Position: pos, Reason: "unexpected kind of value"}
	}
}

// literal decodes a scalar. Token.Value of the library would do, but it panics on numbers that do not
// fit and on escapes it does not know.
func literal(t token.Token) (value, error) {
	switch t.Type {
	case token.IDENT:
		return value{kind: kindString, text: t.Text}, nil
	case token.BOOL:
		return value{kind: kindBool, text: t.Text}, nil
	case token.FLOAT:
		return value{kind: kindNumber, text: t.Text}, nil
	case token.NUMBER:
		n, err := strconv.ParseInt(t.Text, 0, 64)
		if err != nil {
			return value{}, errors.New("number is malformed or too large")
		}
		return value{kind: kindNumber, text: strconv.FormatInt(n, 10)}, nil
	case token.STRING:
		s, err := hclstrconv.Unquote(t.Text)
		if err != nil {
			return value{}, errors.New("malformed string")
		}
		return value{kind: kindString, text: s}, nil
	case token.HEREDOC:
		s, err := heredoc(t)
		return value{kind: kindString, text: s}, err
	default:
		return value{}, errors.New("unexpected token")
	}
}

func heredoc(t token.Token) (text string, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("malformed heredoc")
		}
	}()
	text, ok := t.Value().(string)
	if !ok {
		return "", errors.New("malformed heredoc")
	}
	return text, nil
}
