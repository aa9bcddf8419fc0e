package httpx

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// sign sets the headers of Standard Webhooks. The signed content is id, time and
// body, with full stops between them.
func sign(h http.Header, id string, at time.Time, body []byte, secrets [][]byte) {
	unix := strconv.FormatInt(at.Unix(), 10)
	all := make([]string, len(secrets))
	for i, secret := range secrets {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(id + "." + unix + "."))
		mac.Write(body)
		all[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", unix)
	h.Set("Webhook-Signature", strings.Join(all, " "))
}

// secretsOf reads what Sign is given. The error does not show it.
func secretsOf(text string) (secrets [][]byte, err error) {
	for word := range strings.FieldsSeq(text) {
		encoded, ok := strings.CutPrefix(word, "whsec_")
		secret, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(secret) == 0 {
			return nil, errors.New(`the secret of httpx.Sign is not "whsec_" and base64`)
		}
		secrets = append(secrets, secret)
	}
	if len(secrets) == 0 {
		return nil, errors.New("the secret of httpx.Sign is empty")
	}
	return secrets, nil
}
