package api

import (
	"strings"
	"testing"
)

const smallWrite = `{"data":{"username":"admin","password":"supersecret","url":"https://db.example.com:5432/app","port":5432},"options":{"cas":0}}`

func BenchmarkDecodeSmallWrite(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeText(smallWrite, DefaultJSONLimits()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodePEM(b *testing.B) {
	body := `{"data":{"cert":"` + strings.Repeat(strings.Repeat("M", 64)+`\n`, 30) + `"}}`
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeText(body, DefaultJSONLimits()); err != nil {
			b.Fatal(err)
		}
	}
}
