// Package httpx calls, tells and reads services over HTTP.
//
//   - Effects: [Keyed], [KeyedByInput], [Idempotent] and [AtMostOnce] make a call for a
//     payload and put its answer on record; for weir.Perform.
//   - Sinks: [Webhook], [WebhookFunc] and [WebhookBatch] post payloads, at least once and
//     with the same key each time; for weir.Into.
//   - Sources: [Pull] reads pages to the last one, [Poll] goes on for ever, [Details]
//     reads what a list refers to; each page and detail is recorded once; for weir.From.
//
// # What an answer means
//
// One table holds for all of them. For an effect it says whether the action happened;
// a sink or source tries again, as policy.Retry allows, what is not done for good.
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
//	  off, or is large  larger than MaxBody, cannot be recorded; a webhook has no use
//	                   for bodies and goes by the status
//
// [Classify] changes that for a service that means something else. Retry-After, in
// seconds or as a date, is the shortest pause before the next attempt.
//
// # Effects
//
// [Request] and [Response] are what is recorded; effect.Adapt fits them to a flow's
// types. A request is on record as it is sent, with its URL, header and body.
// Credentials do not belong there: see [Credential].
//
// # Webhooks
//
// A payload is posted when it is durable. Its key, in the header Idempotency-Key, is
// the delivery's id, the same in every attempt and process. [Sign] adds the headers of
// Standard Webhooks. What is refused for good is a dead letter and the next payload is
// posted; what fails otherwise is posted again, and the next one waits.
//
// Posts are made one after the other. For many at once, or for the answer, perform
// KeyedByInput.
//
// # Sources
//
// A source makes a request of a cursor, and a [Decoder] makes of the answer a [Page]:
// rows, rows that could not be decoded, which become dead letters, and the cursor of the
// next. The simplest reads one address:
//
//	httpx.Poll(time.Minute, httpx.Get("https://shop.example/orders", ""), httpx.Array[Order], nil)
//
// The position holds the cursor, so a run that goes on in another process asks for
// what comes next. A page is recorded as a whole. The position of [Poll] also holds
// what tells an answer from the next one (ETag, Last-Modified), that of [Details] what
// is still to be read. Requests of a source are not recorded, but cursors and references
// are: no credential belongs in them.
//
// A page that cannot be had fails the stage when policy.Retry has no more attempts, and
// a source that is given none has one. Attempts are counted from the last answer.
package httpx
