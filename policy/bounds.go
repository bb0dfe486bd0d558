package policy

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	hclscan "github.com/hashicorp/hcl/hcl/scanner"
	hcltoken "github.com/hashicorp/hcl/hcl/token"
	jsonscan "github.com/hashicorp/hcl/json/scanner"
	jsontoken "github.com/hashicorp/hcl/json/token"
)

// Bounds of a policy's text. HCL's parser is recursive and makes a few hundred bytes of each word, so
// the text is scanned before it is parsed.
const (
	maxText   = 1 << 20
	maxDepth  = 64
	maxTokens = 200_000
)

// checkBounds scans the text with the scanner the parser will use, so that both see the same brackets.
func checkBounds(text string) (err error) {
	if len(text) > maxText {
		return fmt.Errorf("text is longer than %d bytes", maxText)
	}
	defer func() {
		if recover() != nil {
			err = errors.New("malformed text")
		}
	}()
	var b bounds
	if strings.HasPrefix(strings.TrimLeftFunc(text, unicode.IsSpace), "{") {
		return b.scanJSON(text)
	}
	return b.scanHCL(text)
}

// bounds counts the words and the open brackets.
type bounds struct{ tokens, depth int }

func (b *bounds) scanHCL(text string) error {
	s := hclscan.New([]byte(text))
	s.Error = func(hcltoken.Pos, string) {} // the parser will tell
	for {
		switch s.Scan().Type {
		case hcltoken.EOF:
			return nil
		case hcltoken.LBRACE, hcltoken.LBRACK:
			b.depth++
		case hcltoken.RBRACE, hcltoken.RBRACK:
			b.close()
		}
		if err := b.check(); err != nil {
			return err
		}
	}
}

func (b *bounds) scanJSON(text string) error {
	s := jsonscan.New([]byte(text))
	s.Error = func(jsontoken.Pos, string) {} // the parser will tell
	for {
		switch s.Scan().Type {
		case jsontoken.EOF:
			return nil
		case jsontoken.LBRACE, jsontoken.LBRACK:
			b.depth++
		case jsontoken.RBRACE, jsontoken.RBRACK:
			b.close()
		}
		if err := b.check(); err != nil {
			return err
		}
	}
}

// close never counts below zero: brackets closed too often must not make room for deeper ones.
func (b *bounds) close() { b.depth = max(b.depth-1, 0) }

func (b *bounds) check() error {
	b.tokens++
	if b.tokens > maxTokens {
		return fmt.Errorf("more than %d words", maxTokens)
	}
	if b.depth > maxDepth {
		return fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	return nil
}
