package jwt

import (
	"bytes"
	"html/template"
	"net/http"

	"coffer/engines"
)

// expired is the text for a login that there is not.
const expired = "This login has expired or was never begun."

// pages are what a browser shows at the end of a login. They run no script and load nothing.
const pages = `{{define "head"}}<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>coffer</title>
<style>body { font: 1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 20vh auto; padding: 0 1rem }</style>
</head>
<body>
<h1>coffer</h1>
{{end}}
{{define "text"}}{{template "head"}}<p>{{.Text}}</p>
{{with .Next}}<p><a href="{{.}}">Continue</a></p>{{end}}
</body>
</html>
{{end}}
{{define "ask"}}{{template "head"}}<p>A client at <b>{{.From}}</b> asks to be logged in as <b>{{.User}}</b>,
in the role <b>{{.Role}}</b>.</p>
<p>Was it you who began this login? If somebody sent you here, say no: he would act in your name.</p>
<form method="post" action="callback">
<input type="hidden" name="state" value="{{.State}}">
<input type="hidden" name="question" value="{{.Question}}">
<button name="answer" value="{{.Yes}}">Yes, log in</button>
<button name="answer" value="{{.No}}" autofocus>No</button>
</form>
</body>
</html>
{{end}}`

// page answers a browser with a text.
func page(status int, text string) (*engines.Response, error) {
	return render(status, "text", struct{ Text, Next string }{Text: text})
}

// pageTo is page with a link to Vault's web page, which tells the window that opened it.
func pageTo(text, next string) (*engines.Response, error) {
	resp, err := render(http.StatusOK, "text", struct{ Text, Next string }{text, next})
	if err != nil {
		return nil, err
	}
	resp.Raw.KeepsOpener = true
	return resp, nil
}

// ask shows the page that asks whether a login is wanted.
func ask(c confirmation) (*engines.Response, error) { return render(http.StatusOK, "ask", c) }

func render(status int, name string, data any) (*engines.Response, error) {
	t, err := template.New("pages").Parse(pages)
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	if err := t.ExecuteTemplate(&body, name, data); err != nil {
		return nil, err
	}
	return &engines.Response{Status: status,
		Raw: &engines.Raw{ContentType: "text/html; charset=utf-8", Body: body.Bytes()}}, nil
}
