package httpx

import "time"

// What tunes calls, by who makes them.
type (
	// An Option tunes effects, sinks and sources.
	Option func(*caller)
	// A SinkOption tunes a webhook. Every Option is one.
	SinkOption interface{ applySink(c *caller) }
	// A SourceOption tunes a source. Every Option is one.
	SourceOption interface{ applySource(c *caller) }
)

func (o Option) applySink(c *caller)   { o(c) }
func (o Option) applySource(c *caller) { o(c) }

// MaxBody is how many bytes of an answer are read; a longer one is an error. The
// default is 1 MiB, and 16 MiB for a page or detail of a source. What a webhook is
// answered is read for [Classify] only, and is of no account otherwise.
func MaxBody(n int64) Option { return func(c *caller) { c.maxBody = n } }

// Keep names headers of answers that are recorded in Response.Header.
func Keep(names ...string) Option {
	return func(c *caller) { c.keep = append(c.keep, names...) }
}

// Credential has a header set when a request is sent. It is not recorded, and not
// needed for replay. A source sends it to the host of its first request only.
func Credential(header string, value func() string) Option {
	return func(c *caller) { c.credentials = append(c.credentials, credential{header, value}) }
}

// Classify says what an answer means where the service differs from the table in
// the package comment. usual is what the table says: nil if the action was done. An
// error that is not marked by effect.Permanent, effect.DidNotHappen or
// effect.RetryAfter means that it is unknown whether the action happened. A source
// asks about every answer but that nothing is new (304).
func Classify(fn func(r Response, usual error) error) Option {
	return func(c *caller) { c.classify = fn }
}

// Observe has fn told of each request that was made, for metrics and logs. It is
// called by whoever made the request, several goroutines at once, and must return
// quickly.
func Observe(fn func(Exchange)) Option { return func(c *caller) { c.observe = fn } }

// An Exchange is one request and what became of it.
type Exchange struct {
	Method string
	URL    string // without user, query and fragment
	Status int    // of the answer; zero if there was none
	Bytes  int    // of the answer's body, as far as it was read
	Took   time.Duration
	Err    error // what it means; nil for success, and for a source that nothing is new (304)
}

// Timeout bounds one request of a webhook or of a source, from its beginning to the
// last byte of its answer. The default is 30 seconds; zero means no bound. Effects
// have policy.Timeout.
type Timeout time.Duration

func (t Timeout) applySink(c *caller)   { c.timeout = time.Duration(t) }
func (t Timeout) applySource(c *caller) { c.timeout = time.Duration(t) }

type sinkOption func(*caller)

func (o sinkOption) applySink(c *caller) { o(c) }

// KeyHeader is where a webhook sends its keys, instead of in [DefaultKeyHeader].
func KeyHeader(name string) SinkOption { return sinkOption(func(c *caller) { c.header = name }) }

// Sign has the requests of a webhook signed as Standard Webhooks 1.0 says
// (https://www.standardwebhooks.com), with HMAC-SHA256 over key, time and body, in
// the headers webhook-id, webhook-timestamp and webhook-signature. The time is that
// of the attempt.
//
// secret is asked for each request. It returns "whsec_" and the secret in base64,
// 24 to 64 random bytes; several, parted by spaces, sign beside each other while one
// replaces another. It is not recorded.
func Sign(secret func() string) SinkOption { return sinkOption(func(c *caller) { c.secret = secret }) }
