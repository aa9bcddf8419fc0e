// Package httpx calls and reads services over HTTP.
//
// [Keyed], [KeyedByInput], [Idempotent] and [AtMostOnce] are effects on a [Request]
// and its [Response]; effect.Adapt fits them to a flow's types. What an answer means
// for the question whether the action happened:
//
//	200–299            done
//	300–399            refused for good: redirects are followed for GET and HEAD on the
//	                   same host only, so nothing was done here
//	408, 425           did not happen: the server says that it never had a complete
//	                   request, or that it did not dare to process it (RFC 9110, RFC 8470)
//	429                did not happen: it was turned away (RFC 6585)
//	other 400–499      refused for good
//	503 with           did not happen: a server that says when to come back has turned
//	  Retry-After      the request away
//	501, 505           refused for good: the server cannot do this at all
//	other 500–599      unknown: a server that failed may have failed after it acted, and
//	                   502, 503 and 504 are also what proxies say when the server behind
//	                   them acted and its answer was lost
//	no connection      did not happen: nothing was sent
//	any other error    unknown: something may have been sent
//	a body that breaks unknown, whatever the status: an answer that is cut short, or
//	  off, or is large  larger than MaxBody, cannot be recorded
//
// [Classify] changes that for a service that means something else. Retry-After, in
// seconds or as a date, is the shortest pause before the next attempt.
//
// A request is on record as it is sent, with its URL, header and body. Credentials
// do not belong there: see [Credential].
package httpx
