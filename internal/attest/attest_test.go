package attest_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/weirflow/weir/internal/attest"
)

func Example() {
	private, public, _ := attest.Generate()
	key, _ := attest.PrivateKey(private)
	file, _ := attest.Write([]byte(`{"verdict":"identical"}`), key)
	want, _ := attest.PublicKey(public)
	report, _, err := attest.Read(file, want)
	fmt.Println(string(bytes.Join(bytes.Fields(report), nil)), err)
	// Output: {"verdict":"identical"} <nil>
}

func TestEveryAlteredByteIsFound(t *testing.T) {
	private, _, err := attest.Generate()
	if err != nil {
		t.Fatal(err)
	}
	key, err := attest.PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file, err := attest.Write([]byte(`{"verdict": "identical", "note": "<&>", "n": 12.50}`), key)
	if err != nil {
		t.Fatal(err)
	}
	good, _, err := attest.Read(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range file {
		bad := bytes.Clone(file)
		bad[i] ^= 1
		report, _, err := attest.Read(bad, nil)
		if err == nil && !bytes.Equal(bytes.Join(bytes.Fields(report), nil), bytes.Join(bytes.Fields(good), nil)) {
			t.Errorf("byte %d (%q) altered: the report %s is accepted", i, file[i], report)
		}
	}
}

func TestRefusals(t *testing.T) {
	private, _, _ := attest.Generate()
	_, other, _ := attest.Generate()
	key, err := attest.PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := attest.PublicKey(other)
	if err != nil {
		t.Fatal(err)
	}
	signed, _ := attest.Write([]byte(`{}`), key)
	unsigned, _ := attest.Write([]byte(`{}`), nil)
	if _, _, err := attest.Read(signed, stranger); !errors.Is(err, attest.ErrStranger) {
		t.Errorf("of another key: %v", err)
	}
	if _, _, err := attest.Read(unsigned, nil); !errors.Is(err, attest.ErrUnsigned) {
		t.Errorf("unsigned: %v", err)
	}
	if _, err := attest.PrivateKey(other); err == nil {
		t.Error("a public key was read as a private one")
	}
	if _, err := attest.PublicKey([]byte("hello")); err == nil {
		t.Error("text was read as a key")
	}
}

func FuzzRead(f *testing.F) {
	private, _, _ := attest.Generate()
	key, _ := attest.PrivateKey(private)
	signed, _ := attest.Write([]byte(`{"a":1}`), key)
	f.Add(signed)
	f.Add([]byte(`{"report":{},"signature":{"algorithm":"ed25519","key":"","value":""}}`))
	f.Fuzz(func(_ *testing.T, file []byte) { _, _, _ = attest.Read(file, nil) })
}
