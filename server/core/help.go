package core

import (
	"encoding/json"
	"fmt"
	"strings"

	"coffer/engines"
)

// help answers `?help=1` from the declarations of the mount's routes.
func (r *run) help() (*engines.Response, error) {
	var text string
	switch {
	case r.found:
		text = routeHelp(r.request.Path, r.match.Help())
	case r.request.Path == "":
		text = mountHelp(r.mount.Router.Help())
	default:
		return nil, engines.ErrUnsupportedPath
	}
	body, err := json.Marshal(helpAnswer{Help: text, OpenAPI: openAPI{Version: "3.0.2", Info: map[string]string{
		"title": "coffer", "version": r.session.cfg.Build.Version,
	}, Paths: map[string]any{}}})
	if err != nil {
		return nil, err
	}
	return &engines.Response{Raw: &engines.Raw{ContentType: "application/json", Body: append(body, '\n')}}, nil
}

// helpAnswer is the answer of `?help=1`. The OpenAPI document names no paths: clients read the text.
type helpAnswer struct {
	Help    string  `json:"help"`
	OpenAPI openAPI `json:"openapi"`
	SeeAlso any     `json:"see_also"`
}

type openAPI struct {
	Version string            `json:"openapi"`
	Info    map[string]string `json:"info"`
	Paths   map[string]any    `json:"paths"`
}

func routeHelp(path string, h engines.RouteHelp) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Request:        %s\nMatching Route: %s\n\n%s\n", path, h.Pattern, h.Synopsis)
	if len(h.Parameters) > 0 {
		b.WriteString("\n## PARAMETERS\n")
	}
	for _, p := range h.Parameters {
		fmt.Fprintf(&b, "\n    %s (%s)\n", p.Name, p.Type)
		if p.Text != "" {
			fmt.Fprintf(&b, "\n        %s\n", p.Text)
		}
	}
	names := make([]string, len(h.Operations))
	for i, op := range h.Operations {
		names[i] = op.String()
	}
	fmt.Fprintf(&b, "\n## OPERATIONS\n\n    %s\n", strings.Join(names, ", "))
	return b.String()
}

func mountHelp(routes []engines.RouteHelp) string {
	var b strings.Builder
	b.WriteString("## PATHS\n\nThe following paths are served by this mount. " +
		"Ask for the help of one of them for its parameters.\n")
	for _, h := range routes {
		fmt.Fprintf(&b, "\n    %s\n        %s\n", h.Pattern, h.Synopsis)
	}
	return b.String()
}
