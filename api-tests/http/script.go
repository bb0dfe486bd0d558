package http

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// ErrScript is wrapped by the errors about the text of a script. They name file and line.
var ErrScript = errors.New("malformed script")

// serverState is what a script needs of its fresh server.
type serverState string

const (
	uninitialised serverState = "uninitialised"
	sealed        serverState = "sealed"
	unsealed      serverState = "unsealed"
	// selfUnsealing is uninitialised, with a seal that opens by itself: static in coffer, transit in Vault.
	selfUnsealing serverState = "self-unsealing"
)

// script is one file. The texts are kept as written, so that recording changes nothing but answers.
type script struct {
	path   string
	head   string // Everything above the first step.
	state  serverState
	tls    bool   // The listener speaks TLS, and clients have the certificates of pki.
	raw    bool   // sys/raw is served.
	plugin string // The auth method that Vault has as a plugin; empty for none.
	steps  []*step
}

// step is one request with its recorded answer.
type step struct {
	title   string
	line    int    // Of the title, counted from one.
	text    string // Title line to last line above "---", verbatim.
	answer  string // Below "---", without blank lines at either end; empty when never recorded.
	request requestSpec
	rules   stepRules
}

// requestSpec is a request before its variables are filled in.
type requestSpec struct {
	method, target string
	token          string // Name of the variable sent as X-Vault-Token, or empty.
	headers        []headerLine
	body           string
	hasBody        bool
}

type headerLine struct{ name, value string }

// stepRules are the directives of a step.
type stepRules struct {
	captures []capture
	ignore   []jsonPath
	sort     []jsonPath
	await    int // Status to wait for; 0: ask once.
	tokens   []signature
	client   string // Whose certificate is shown; empty for nobody's.
}

// signature is a token to be signed and set as a variable before the request is sent.
type signature struct{ name, key, claims string }

type capture struct {
	name string
	path jsonPath
}

var (
	headerPattern  = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9-]*): ?(.*)$`)
	requestPattern = regexp.MustCompile(`^([A-Z]+) (\S+)(?: @(\w+))?$`)
	capturePattern = regexp.MustCompile(`^(\w+) = (\S+)$`)
	signPattern    = regexp.MustCompile(`^(\w+) = (\S+) (\S.*)$`)
)

func readScript(path string) (*script, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s, err := parseScript(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	s.path = path
	return s, nil
}

func parseScript(text string) (*script, error) {
	s := &script{}
	var current []string
	title := 0
	flush := func() error {
		block := strings.Join(current, "\n")
		current = nil
		if title == 0 {
			s.head = block
			return s.parseHead()
		}
		st, err := parseStep(block, title)
		if err != nil {
			return err
		}
		s.steps = append(s.steps, st)
		return nil
	}
	for i, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "=== ") {
			if err := flush(); err != nil {
				return nil, err
			}
			title = i + 1
		}
		current = append(current, line)
	}
	if err := flush(); err != nil {
		return nil, err
	}
	return s, s.checkTitles()
}

func (s *script) parseHead() error {
	for line := range strings.SplitSeq(s.head, "\n") {
		if state, ok := strings.CutPrefix(line, "server: "); ok {
			s.state = serverState(strings.TrimSpace(state))
		}
		s.tls = s.tls || line == "listener: tls"
		s.raw = s.raw || line == "raw: on"
		if name, ok := strings.CutPrefix(line, "plugin: "); ok {
			s.plugin = name
		}
	}
	switch s.state {
	case uninitialised, sealed, unsealed, selfUnsealing:
		return nil
	}
	return fmt.Errorf("1: %w: a script starts with server: uninitialised, sealed, unsealed or self-unsealing", ErrScript)
}

func (s *script) checkTitles() error {
	seen := map[string]bool{}
	for _, st := range s.steps {
		if seen[st.title] {
			return fmt.Errorf("%d: %w: a second step %q", st.line, ErrScript, st.title)
		}
		seen[st.title] = true
	}
	return nil
}

// The parts of a step, in their order.
const (
	inRequest = iota
	inHeaders
	inBody
	inRules
)

func parseStep(block string, line int) (*step, error) {
	text, answer, _ := strings.Cut(block+"\n", "\n---\n")
	st := &step{line: line, text: strings.TrimRight(text, "\n"), answer: strings.Trim(answer, "\n")}
	lines := strings.Split(st.text, "\n")
	st.title = strings.TrimPrefix(lines[0], "=== ")
	part := inRequest
	for i, l := range lines[1:] {
		if strings.HasPrefix(l, "# ") && part != inBody {
			continue
		}
		var err error
		if part, err = st.parseLine(l, part); err != nil {
			return nil, fmt.Errorf("%d: %w: %w", line+i+1, ErrScript, err)
		}
	}
	if part == inRequest {
		return nil, fmt.Errorf("%d: %w: no request line", line, ErrScript)
	}
	return st, nil
}

// parseLine takes in one line of the given part and returns the part that the next line may belong to.
func (st *step) parseLine(l string, part int) (int, error) {
	if rule, ok := strings.CutPrefix(l, "> "); ok && part != inRequest {
		return inRules, st.rules.parse(rule)
	}
	req := &st.request
	switch part {
	case inRequest:
		m := requestPattern.FindStringSubmatch(l)
		if m == nil {
			return part, errors.New("want METHOD TARGET [@token]")
		}
		req.method, req.target, req.token = m[1], m[2], m[3]
		return inHeaders, nil
	case inHeaders:
		if m := headerPattern.FindStringSubmatch(l); m != nil {
			req.headers = append(req.headers, headerLine{m[1], m[2]})
			return part, nil
		}
		if l == "" {
			return inBody, nil // A blank line lets the body look like a header.
		}
	case inRules:
		return part, errors.New("text after the directives")
	}
	if req.hasBody {
		req.body += "\n"
	}
	req.body, req.hasBody = req.body+l, true
	return inBody, nil
}

func (r *stepRules) parse(rule string) error {
	word, rest, _ := strings.Cut(rule, " ")
	if strings.HasPrefix(rest, "=") {
		word = "" // a capture, whatever its name
	}
	switch word {
	case "ignore":
		path, reason, ok := strings.Cut(rest, ": ")
		if !ok || reason == "" {
			return errors.New("ignore needs a path and a reason")
		}
		return appendPath(&r.ignore, path)
	case "sort":
		return appendPath(&r.sort, rest)
	case "jwt":
		m := signPattern.FindStringSubmatch(rest)
		if m == nil {
			return errors.New("jwt needs NAME = KEY CLAIMS")
		}
		r.tokens = append(r.tokens, signature{m[1], m[2], m[3]})
		return nil
	case "client":
		if r.client = rest; rest == "" {
			return errors.New("client needs a name")
		}
		return nil
	case "await":
		status, err := strconv.Atoi(rest)
		r.await = status
		return err
	}
	m := capturePattern.FindStringSubmatch(rule)
	if m == nil {
		return errors.New("unknown directive")
	}
	path, err := parsePath(m[2])
	if err != nil {
		return err
	}
	r.captures = append(r.captures, capture{m[1], path})
	return nil
}

func appendPath(to *[]jsonPath, text string) error {
	path, err := parsePath(text)
	*to = append(*to, path)
	return err
}

// format is the text of the script with its present answers.
func (s *script) format() string {
	blocks := []string{strings.TrimRight(s.head, "\n")}
	for _, st := range s.steps {
		block := st.text
		if st.answer != "" {
			block += "\n---\n" + st.answer
		}
		blocks = append(blocks, block)
	}
	return strings.Join(blocks, "\n\n") + "\n"
}
