package postgres

import (
	"crypto/tls"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A TLS is how a connection over a network is protected. A Unix socket is no
// network.
type TLS int

// What is checked, each with what is checked before it. They are sslmode=disable,
// require, verify-ca and verify-full in a DSN.
const (
	// Plain checks nothing, and encrypts nothing.
	Plain TLS = iota
	// Require encrypts. Whoever answers is believed to be the server.
	Require
	// VerifyCA checks that the server's certificate is signed by an authority that
	// sslrootcert names, or that the system trusts: the server is one of theirs.
	VerifyCA
	// VerifyFull checks that the certificate is for the host that was asked for.
	VerifyFull
)

// String returns the word for sslmode.
func (t TLS) String() string {
	switch t {
	case Plain:
		return "disable"
	case Require:
		return "require"
	case VerifyCA:
		return "verify-ca"
	case VerifyFull:
		return "verify-full"
	default:
		return fmt.Sprintf("TLS(%d)", int(t))
	}
}

// checkTLS refuses what falls back to plain text, and what is less than least.
func checkTLS(c *pgx.ConnConfig, least TLS) error {
	if least < Plain || least > VerifyFull {
		return fmt.Errorf("Config.TLS is %d; use Plain, Require, VerifyCA or VerifyFull", int(least))
	}
	plain, encrypted := "", ""
	for _, way := range append([]*pgconn.FallbackConfig{{Host: c.Host, Port: c.Port, TLSConfig: c.TLSConfig}}, c.Fallbacks...) {
		if network, _ := pgconn.NetworkAddress(way.Host, way.Port); network == "unix" {
			continue
		}
		got := strength(way.TLSConfig)
		if got == Plain {
			plain = way.Host
		} else {
			encrypted = way.Host
		}
		if plain != "" && encrypted != "" {
			return fmt.Errorf("the connection to %s may be encrypted and may be plain text, as the server likes: add sslmode=verify-full to the DSN (or verify-ca, require; or disable, if plain text is what you want)", way.Host)
		}
		if got < least {
			return fmt.Errorf("the DSN asks for sslmode=%s with %s, and Config.TLS for %s at least", got, way.Host, least)
		}
	}
	return nil
}

// strength says what a connection with c checks.
func strength(c *tls.Config) TLS {
	switch {
	case c == nil:
		return Plain
	case !c.InsecureSkipVerify:
		return VerifyFull
	case c.VerifyPeerCertificate != nil || c.VerifyConnection != nil:
		return VerifyCA
	default:
		return Require
	}
}
