// Package attest signs reports with Ed25519 and checks signatures.
//
// A report is a JSON document. A signed one is
//
//	{"report": …, "signature": {"algorithm": "ed25519", "key": …, "value": …}}
//
// with the public key and the signature in base64. What is signed is the text
// "weir report 1", a line feed, and the report without spaces between its parts,
// so that it can be indented and still holds. An unsigned one has no signature.
//
// Keys are PEM files: PKCS #8 for the private one, PKIX for the public one.
package attest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
)

const (
	algorithm  = "ed25519"
	preamble   = "weir report 1\n"
	privatePEM = "PRIVATE KEY"
	publicPEM  = "PUBLIC KEY"
)

// Why a signature does not hold.
var (
	// ErrUnsigned says that a report has no signature.
	ErrUnsigned = errors.New("the report is not signed")
	// ErrAltered says that signature and report do not belong together.
	ErrAltered = errors.New("the signature does not fit the report: one of them was altered")
	// ErrStranger says that the signature is good and of another key.
	ErrStranger = errors.New("the report is signed with another key")
)

type envelope struct {
	Report    json.RawMessage `json:"report"`
	Signature *signature      `json:"signature,omitempty"`
}

type signature struct {
	Algorithm string `json:"algorithm"`
	Key       []byte `json:"key"`
	Value     []byte `json:"value"`
}

// Write returns report, which must be a JSON value, as a file, signed with key
// unless that is nil.
func Write(report []byte, key ed25519.PrivateKey) ([]byte, error) {
	e := envelope{Report: report}
	if key != nil {
		text, err := message(report)
		if err != nil {
			return nil, err
		}
		e.Signature = &signature{Algorithm: algorithm, Key: key.Public().(ed25519.PublicKey), Value: ed25519.Sign(key, text)}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(e); err != nil {
		return nil, fmt.Errorf("write the report: %w", err)
	}
	return b.Bytes(), nil
}

// message is what is signed of a report.
func message(report []byte) ([]byte, error) {
	b := bytes.NewBufferString(preamble)
	if err := json.Compact(b, report); err != nil {
		return nil, fmt.Errorf("the report is no JSON: %w", err)
	}
	return b.Bytes(), nil
}

// Read returns the report in a file that Write made, and the key that signed it.
// The error is ErrUnsigned, ErrAltered or, if want is not nil and another key
// signed it, ErrStranger; the report is returned in any case if there is one.
func Read(file []byte, want ed25519.PublicKey) (report json.RawMessage, by ed25519.PublicKey, err error) {
	var e envelope
	if err := json.Unmarshal(file, &e); err != nil {
		return nil, nil, fmt.Errorf("this is no report: %w", err)
	}
	switch s := e.Signature; {
	case len(e.Report) == 0:
		return nil, nil, errors.New("this is no report: it has no member report")
	case s == nil:
		return e.Report, nil, ErrUnsigned
	case s.Algorithm != algorithm || len(s.Key) != ed25519.PublicKeySize:
		return e.Report, nil, fmt.Errorf("%w: algorithm %q with a key of %d bytes", ErrAltered, s.Algorithm, len(s.Key))
	}
	text, err := message(e.Report)
	if err != nil {
		return nil, nil, err
	}
	by = e.Signature.Key
	switch {
	case !ed25519.Verify(by, text, e.Signature.Value):
		return e.Report, by, ErrAltered
	case want != nil && !by.Equal(want):
		return e.Report, by, ErrStranger
	}
	return e.Report, by, nil
}

// Generate makes a pair of keys as PEM files.
func Generate() (private, public []byte, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	p8, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	pkix, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: privatePEM, Bytes: p8}), pem.EncodeToMemory(&pem.Block{Type: publicPEM, Bytes: pkix}), nil
}

// PrivateKey reads the private key in a PEM file.
func PrivateKey(file []byte) (ed25519.PrivateKey, error) {
	b, err := block(file, privatePEM)
	if err != nil {
		return nil, err
	}
	k, err := x509.ParsePKCS8PrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("read the private key: %w", err)
	}
	key, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the key is a %T, not one of Ed25519; weir keygen makes one", k)
	}
	return key, nil
}

// PublicKey reads the public key in a PEM file.
func PublicKey(file []byte) (ed25519.PublicKey, error) {
	b, err := block(file, publicPEM)
	if err != nil {
		return nil, err
	}
	k, err := x509.ParsePKIXPublicKey(b)
	if err != nil {
		return nil, fmt.Errorf("read the public key: %w", err)
	}
	key, ok := k.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the key is a %T, not one of Ed25519; weir keygen makes one", k)
	}
	return key, nil
}

func block(file []byte, want string) ([]byte, error) {
	b, _ := pem.Decode(file)
	switch {
	case b == nil:
		return nil, fmt.Errorf("this is no PEM file with a %s; weir keygen makes one", want)
	case b.Type != want:
		return nil, fmt.Errorf("this is a %s, want a %s", b.Type, want)
	}
	return b.Bytes, nil
}

// Name is how people tell public keys apart: the key in base64.
func Name(k ed25519.PublicKey) string { return base64.StdEncoding.EncodeToString(k) }
