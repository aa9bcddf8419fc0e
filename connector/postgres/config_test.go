package postgres_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/postgres"
)

// What is wrong with a configuration is told before anybody is called, and never
// with a password in it.
func TestConfig(t *testing.T) {
	for _, key := range []string{"PGHOST", "PGSSLMODE", "PGUSER", "PGPASSWORD"} {
		t.Setenv(key, "")
	}
	for _, c := range []struct {
		dsn  weir.Secret
		set  postgres.Config
		says string // "" means that it is let through
	}{
		{"", postgres.Config{}, "the DSN is empty"},
		{"postgres://u:ge/heim@h/db", postgres.Config{}, "cannot be understood"},
		{"host=h password=geheim port=geheim", postgres.Config{}, "cannot be understood"},
		{"postgres://u:geheim@h/db?sslmode=verify-full&sslrootcert=/no/such.pem", postgres.Config{}, "the DSN names a file: open /no/such.pem"},
		{"host=/tmp dbname=x", postgres.Config{Marks: "a.b.c"}, `table "a.b.c"`},
		{"host=/tmp dbname=x", postgres.Config{Effects: `"a`}, `table "\"a"`},
		{"host=/tmp dbname=x", postgres.Config{Timeout: -1}, "not negative"},
		{"host=/tmp dbname=x", postgres.Config{TLS: 9}, "Config.TLS is 9"},

		{"postgres://u:geheim@127.0.0.1/db", postgres.Config{}, "may be plain text, as the server likes: add sslmode=verify-full"},
		{"postgres://u:geheim@127.0.0.1/db?sslmode=prefer", postgres.Config{TLS: postgres.Require}, "may be plain text"},
		{"postgres://u:geheim@127.0.0.1/db?sslmode=allow", postgres.Config{}, "may be plain text"},
		{"postgres://u:geheim@127.0.0.1/db?sslmode=disable", postgres.Config{TLS: postgres.Require}, "the DSN asks for sslmode=disable with 127.0.0.1, and Config.TLS for require at least"},
		{"postgres://u:geheim@127.0.0.1/db?sslmode=require", postgres.Config{TLS: postgres.VerifyCA}, "asks for sslmode=require"},
		{"postgres://u:geheim@127.0.0.1/db?sslmode=verify-ca", postgres.Config{TLS: postgres.VerifyFull}, "asks for sslmode=verify-ca"},
		{"postgres://u:geheim@127.0.0.1,/tmp/db?sslmode=verify-ca", postgres.Config{TLS: postgres.VerifyFull}, "asks for sslmode=verify-ca"},
		{"postgres://u:geheim@127.0.0.1/db?sslmode=disable", postgres.Config{}, ""},
		{"postgres://u:geheim@127.0.0.1/db?sslmode=require", postgres.Config{TLS: postgres.Require}, ""},
		{"postgres://u:geheim@127.0.0.1/db?sslmode=verify-ca", postgres.Config{TLS: postgres.VerifyCA}, ""},
		{"postgres://u:geheim@127.0.0.1/db?sslmode=verify-full", postgres.Config{TLS: postgres.VerifyFull}, ""},
		{"host=/tmp user=u password=geheim dbname=db", postgres.Config{TLS: postgres.VerifyFull}, ""},
	} {
		c.set.DSN = c.dsn
		c.set.ConnectTimeout = max(c.set.ConnectTimeout, 0)
		dialed := false
		if c.set.Configure == nil {
			c.set.Configure = func(p *pgxpool.Config) {
				p.ConnConfig.DialFunc = func(context.Context, string, string) (net.Conn, error) {
					dialed = true
					return nil, errors.New("nobody is called in this test")
				}
			}
		}
		_, err := declare(t, c.set).Pool(t.Context())
		switch {
		case err == nil:
			t.Errorf("%s: it connects", string(c.dsn))
		case dialed != (c.says == ""), !strings.Contains(err.Error(), c.says):
			t.Errorf("%s: %v (called: %t), want %q", string(c.dsn), err, dialed, c.says)
		case strings.Contains(err.Error(), "geheim") || strings.Contains(err.Error(), "heim@"):
			t.Errorf("%s: %v tells the password", string(c.dsn), err)
		}
	}
}

// Each mode checks what its name says, on a connection.
func TestTLS(t *testing.T) {
	b := newBase(t)
	ca, stranger := newAuthority(t), newAuthority(t)
	for _, c := range []struct {
		mode, server, says string // says: "" means that it connects
	}{
		{"require", "none", "server refused TLS connection"},
		{"require", "stranger", ""},
		{"verify-ca", "stranger", "certificate signed by unknown authority"},
		{"verify-ca", "other host", ""},
		{"verify-full", "other host", "certificate is valid for elsewhere.example, not localhost"},
		{"verify-full", "right", ""},
		{"disable", "none", ""},
	} {
		t.Run(c.mode+" "+c.server, func(t *testing.T) {
			var cert *tls.Certificate
			switch c.server {
			case "stranger":
				cert = stranger.issue(t, "localhost")
			case "other host":
				cert = ca.issue(t, "elsewhere.example")
			case "right":
				cert = ca.issue(t, "localhost")
			}
			port, encrypted := tlsFront(t, filepath.Join(b.dir, ".s.PGSQL.5432"), cert)
			dsn := fmt.Sprintf("host=localhost port=%d user=weir dbname=%s sslmode=%s", port, b.name, c.mode)
			if strings.HasPrefix(c.mode, "verify") {
				dsn += " sslrootcert=" + ca.file
			}
			_, err := declare(t, postgres.Config{DSN: weir.Secret(dsn)}).Pool(t.Context())
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
			if err == nil && encrypted() != (c.server != "none") {
				t.Errorf("encrypted: %t", encrypted())
			}
		})
	}
}

// An authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, file: filepath.Join(t.TempDir(), "ca.pem")}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) issue(t *testing.T, host string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// tlsFront speaks TLS, or refuses to, in front of a server's socket. It returns its
// port, and whether a connection was encrypted.
func tlsFront(t *testing.T, socket string, cert *tls.Certificate) (port int, encrypted func() bool) {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	was := false
	var conns []net.Conn
	serve := func(c net.Conn) {
		defer c.Close()
		server, err := net.Dial("unix", socket)
		if err != nil {
			t.Error(err)
			return
		}
		defer server.Close()
		mu.Lock()
		conns = append(conns, c, server)
		mu.Unlock()
		_, first, err := message(c, true)
		if err != nil {
			return
		}
		if string(first[4:]) == "\x04\xd2\x16\x2f" { // SSLRequest
			if cert == nil {
				_, _ = c.Write([]byte("N"))
				return
			}
			_, _ = c.Write([]byte("S"))
			secure := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12})
			if secure.HandshakeContext(t.Context()) != nil {
				return
			}
			mu.Lock()
			was = true
			mu.Unlock()
			c, first = secure, nil
		}
		if _, err := server.Write(first); err != nil {
			return
		}
		group.Go(func() { _, _ = io.Copy(c, server); c.Close() })
		_, _ = io.Copy(server, c)
	}
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() { serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		group.Wait()
	})
	return l.Addr().(*net.TCPAddr).Port, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return was
	}
}
