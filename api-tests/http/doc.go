// Package http replays request scripts against coffer and compares each answer with the one that real Vault 1.21.2
// gave.
//
// A script is a text file in testdata. It starts with the state of the fresh server it needs:
//
//	server: unsealed
//
// (or uninitialised, or sealed, or self-unsealing: uninitialised with a seal that opens by itself). Lines below it ask
// for more: "listener: tls" for client certificates, "raw: on" for sys/raw, "plugin: ldap" or "plugin: kubernetes" for
// HashiCorp's own auth method in real Vault, whose minimal build lacks it. The script goes on with steps:
//
//	=== a title, unique in the file
//	PUT /v1/auth/token/create @root
//	Content-Type: application/json
//	{"policies": ["default"]}
//	> token = .auth.client_token
//	> ignore .warnings: Vault's prose
//	---
//	200
//	Cache-Control: (none)
//
//	{
//	  "request_id": "<uuid>",
//	  …
//
// Above "---" a person writes; below it the runner records. The request line takes the target as it goes on the wire
// and, optionally, @name: the variable that is sent as X-Vault-Token. Header lines follow, then the body, which is sent
// byte for byte without its last line break; a blank line may stand between them. Lines that start with "# " are
// comments.
//
// ${name} stands for a variable: root (the root token), key1, key2, key3 (unseal keys of sealed and unsealed servers,
// of which two are needed), addr, hostport, dir (an empty folder the server may write to), and what earlier steps
// captured. ${repeat:text:count}, ${base64:text}, ${json:name} (the variable as a JSON string), ${hex:00ff} (the
// bytes), ${unmask:encoded:otp} (the token of generate-root, from two variables), ${patch:name:text} (variable name,
// its end overwritten with text) and ${spoil:name} (variable name, a key in hex, with another beginning) compute, and
// so do ${now:-60} (Unix time, a minute ago), ${query:name:state} (a parameter of the URL in a variable) and
// ${pubkey:rsa} (the PEM of a key that signs tokens, for use inside JSON), ${account:rsa} (a service account's key at
// Google, for use inside JSON) and ${totp:name:-1} (the code of the otpauth URL in a variable, one period ago). ${idp} is
// the address of a small OpenID provider: see startProvider.
//
// Directives start with "> ":
//
//	> name = .path       capture a value of the JSON answer (.keys[0], .data["a/b"].c)
//	> ignore .path: why  leave a value out of the comparison (* stands for every member)
//	> sort .path         sort an array whose order is arbitrary in Vault
//	> jwt name = rsa {…} sign a JWT with these claims before the request is sent: see signJWT
//	> client alice       show the certificate of that name (see pki.go); only where the listener is tls
//	> await 200          repeat the request until this status, for what happens in the background
//
// The answer is the status, the headers that are compared and the body: JSON is indented, with the order of keys and
// the spelling of literals kept, and normalised by the rules of normalise.go. Headers that nearly every answer has are
// only written where they differ: see usual in answer.go.
//
// How to run:
//
//	go test ./api-tests/http                                     replay on coffer
//	go test ./api-tests/http -run TestReplay/scripts/NAME        … one script
//	go test ./api-tests/http -run TestReplay -record             record all answers anew from Vault
//	go test ./api-tests/http -run TestReplay -against vault      replay on Vault: shows answers that are not stable
//
// Steps that are meant to differ are listed in testdata/differences.txt, each with its reason.
package http
