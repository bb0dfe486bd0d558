package jwt

import (
	"bytes"
	"html/template"

	"coffer/engines"
)

// pageText is what a browser shows at the end of a login. It runs no script and loads nothing.
const pageText = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<title>coffer</title>
<style>body { font: 1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 20vh auto; padding: 0 1rem }</style>
</head>
<body>
<h1>coffer</h1>
<p>{{.Text}}</p>
{{with .Next}}<p><a href="{{.}}">Continue</a></p>{{end}}
</body>
</html>
`

// page answers a browser. next is where a link leads; "" for none.
func page(status int, text, next string) (*engines.Response, error) {
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	if err := t.Execute(&body, struct{ Text, Next string }{text, next}); err != nil {
		return nil, err
	}
	return &engines.Response{Status: status,
		Raw: &engines.Raw{ContentType: "text/html; charset=utf-8", Body: body.Bytes()}}, nil
}
