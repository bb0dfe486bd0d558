package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"coffer/engines"
	"coffer/storage/memory"
)

// numbers is a list of n lists of 1000 numbers each, decoded and as JSON.
func numbers(n int) (any, string) {
	inner := make([]any, 1000)
	for i := range inner {
		inner[i] = json.Number("1")
	}
	list := make([]any, n)
	for i := range list {
		list[i] = inner
	}
	one := "[" + strings.Repeat("1,", 999) + "1]"
	return list, "[" + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + "]"
}

// entryLine is the line of an entry, without its end.
func entryLine(t testing.TB, d *device, kind string, e *Entry) string {
	t.Helper()
	line, err := d.format(kind, e, headers{"user-agent": false})
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(line) {
		t.Fatalf("not JSON: %.200s", line)
	}
	return strings.TrimSuffix(string(line), "\n")
}

// TestLargeValues: what is too large is one HMAC of its JSON, and what stands beside it shows as ever.
func TestLargeValues(t *testing.T) {
	b := New(Config{Storage: memory.New(), Logger: slog.New(slog.DiscardHandler)})
	defer b.Close()
	file := filepath.Join(t.TempDir(), "audit.log")
	enable(t, b, "f/", map[string]string{"file_path": file})
	list, text := numbers(450)
	e := testEntry()
	e.Request.Params = map[string]any{
		"data":    map[string]any{"<k>": "é\"" + strings.Repeat("x", 5000), "numbers": list},
		"options": map[string]any{"cas": json.Number("1")}}
	e.Response = &engines.Response{Encoded: json.RawMessage(
		`{"data":{"k":` + text + `},"metadata":{"created_time":"now","version":3}}`)}
	if err := b.LogResponse(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	e.Response = &engines.Response{Data: map[string]any{"raw": json.RawMessage(text), "ttl": 5, "keys": strings.Split(text, ",")}}
	if err := b.LogResponse(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	sent := `{"\u003ck\u003e":"é\"` + strings.Repeat("x", 5000) + `","numbers":` + text + `}`
	keys, err := json.Marshal(strings.Split(text, ","))
	if err != nil {
		t.Fatal(err)
	}
	got := lines(t, b, "f/", file, sent, `{"k":`+text+`}`, text, string(keys), "1", "now", "3")
	digest := func(value string) string { return fmt.Sprintf(`{"bytes":%d,"digest":"H(%s)"}`, len(value), value) }
	for i, want := range []string{
		`"data":{"data":` + digest(sent) + `,"options":{"cas":"H(1)"}}`,
		`"response":{"data":{"data":` + digest(`{"k":`+text+`}`) + `,"metadata":{"created_time":"H(now)","version":"H(3)"}}`,
		`"response":{"data":{"keys":` + digest(string(keys)) + `,"raw":` + digest(text) + `,"ttl":5}`,
	} {
		if line := got[i/2]; !strings.Contains(line, want) || !strings.Contains(line, `"path":"secret/data/a"`) {
			t.Errorf("no %.300s in\n%.300s", want, line)
		}
	}
}

// TestEntriesAreBounded: whatever a request holds, its line does not become long, nor does making it take much.
func TestEntriesAreBounded(t *testing.T) {
	list, text := numbers(450)
	wide := make(map[string]any)
	names := make([]string, 9000)
	for i := range 9000 {
		wide[fmt.Sprint("<", i)] = nil
		names[i] = fmt.Sprint("policy", i)
	}
	long := strings.Repeat("a/<", 5<<10)
	for name, change := range map[string]func(*Entry){
		"numbers in a body":   func(e *Entry) { e.Request.Params = map[string]any{"data": list} },
		"names in a body":     func(e *Entry) { e.Request.Params = wide },
		"deep names":          func(e *Entry) { e.Request.Params = map[string]any{"data": map[string]any{"data": wide}} },
		"encoded answer":      func(e *Entry) { e.Response = &engines.Response{Encoded: json.RawMessage(`{"data":` + text + `}`)} },
		"encoded, one level":  func(e *Entry) { e.Response = &engines.Response{Encoded: json.RawMessage(`{"a":` + wideJSON() + `}`)} },
		"encoded, many names": func(e *Entry) { e.Response = &engines.Response{Encoded: json.RawMessage(wideJSON())} },
		"raw member":          func(e *Entry) { e.Response = &engines.Response{Data: map[string]any{"k": json.RawMessage(text)}} },
		"list of names":       func(e *Entry) { e.Response = &engines.Response{Data: map[string]any{"keys": names}} },
		"path":                func(e *Entry) { e.Path = long },
		"error":               func(e *Entry) { e.Error = fmt.Errorf("no route %q", long) },
		"lease":               func(e *Entry) { e.Response = &engines.Response{Secret: &engines.Secret{LeaseID: long}} },
		"display name":        func(e *Entry) { e.Request.Caller.DisplayName = long },
		"policies": func(e *Entry) {
			e.Request.Caller.Policies, e.Decision.Policies, e.IdentityPolicies = names, names, names
		},
		"metadata": func(e *Entry) { e.Request.Caller.Metadata = map[string]string{"k": long, long: "v"} },
		"issued": func(e *Entry) {
			e.Response = &engines.Response{Auth: &engines.Auth{Policies: names, Metadata: map[string]string{"k": long}}}
		},
		"headers":      func(e *Entry) { e.Request.Client.Header = map[string][]string{"User-Agent": names} },
		"plain values": func(e *Entry) { e.Request.Params = map[string]any{"shown": names, "made": long} },
	} {
		for _, raw := range []bool{false, true} {
			t.Run(fmt.Sprint(name, raw), func(t *testing.T) {
				d := newDevice(record{Path: "f/", Key: make([]byte, keySize)}, options{hmacAccessor: true, raw: raw}, nil)
				defer d.sink.close(0)
				e := testEntry()
				change(e)
				entryLine(t, d, "response", e) // fills the pools
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				line := entryLine(t, d, "response", e)
				runtime.ReadMemStats(&after)
				if len(line) > 2*roomOfCallers+4*roomOfNames {
					t.Errorf("the line has %d bytes", len(line))
				}
				// Sorted names of one object at a time are the most. With the race detector pools forget some of what they
				// are given.
				if took := after.TotalAlloc - before.TotalAlloc; took > 2<<20 {
					t.Errorf("it took %d KB", took>>10)
				}
				for _, want := range []string{`"client_token_accessor":"`, `"operation":"create"`} {
					if !strings.Contains(line, want) {
						t.Errorf("no %s in %.500s", want, line)
					}
				}
			})
		}
	}
}

func wideJSON() string {
	var b strings.Builder
	for i := range 9000 {
		fmt.Fprintf(&b, `"%d":null,`, i)
	}
	return "{" + strings.TrimSuffix(b.String(), ",") + "}"
}

// TestStrangersGetLittleRoom: who shows no good token can make no line of more than a few kilobytes, however many values
// he sends.
func TestStrangersGetLittleRoom(t *testing.T) {
	d := newDevice(record{Path: "f/", Key: make([]byte, keySize)}, options{hmacAccessor: true}, nil)
	defer d.sink.close(0)
	list, text := numbers(1)
	e := testEntry()
	e.Request.Caller, e.Request.Params = nil, map[string]any{"password": list}
	e.Error = engines.ErrDenied
	line := entryLine(t, d, "response", e)
	if want := fmt.Sprintf(`"password":{"bytes":%d,"digest":"%s"`, len(text), d.hasher.text(text)); !strings.Contains(line, want) || len(line) > 6<<10 {
		t.Errorf("%d bytes, no %s in %.300s", len(line), want, line)
	}
	e.Request.Params = map[string]any{"password": "x", "a": []any{"1", "2"}}
	if line := entryLine(t, d, "request", e); !strings.Contains(line, `"password":"`+d.hasher.text("x")) {
		t.Errorf("a small body does not show in Vault's form: %s", line)
	}
}

// FuzzRoom: what is shown of any object fits into its room, and is what object would show where that fits.
func FuzzRoom(f *testing.F) {
	f.Add([]byte(`{"a":["x",{"b":"<$"}],"c":1.5,"d":null}`), false)
	f.Add([]byte(`{"\u0000":{"":[[[]]]},"$`+"`"+`":"\u2028"}`), true)
	h := newHasher(make([]byte, keySize))
	f.Fuzz(func(t *testing.T, text []byte, raw bool) {
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		var m map[string]any
		if decoder.Decode(&m) != nil || len(m) == 0 {
			return
		}
		compact, err := json.Marshal(m)
		if err != nil {
			return
		}
		for _, room := range []int{64, 512, roomOfStrangers} {
			r := redactor{hasher: h, raw: raw, room: room}
			for what, shown := range map[string]any{"map": r.bounded(m), "JSON": r.boundedJSON(compact)} {
				line, err := json.Marshal(shown)
				if err != nil {
					t.Fatal(err)
				}
				if n := len(disarm(line)); n > max(room, 2*sizeOfDigest) {
					t.Errorf("%s: %d bytes in room for %d: %s", what, n, room, line)
				}
			}
			full, err := json.Marshal(r.object(m))
			if err != nil {
				t.Fatal(err)
			}
			shown, err := json.Marshal(r.bounded(m))
			if err != nil {
				t.Fatal(err)
			}
			if 7*len(full)+64 < room && !bytes.Equal(full, shown) {
				t.Errorf("small, and not shown in Vault's form: %s", shown)
			}
		}
	})
}
