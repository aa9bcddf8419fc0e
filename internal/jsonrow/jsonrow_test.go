package jsonrow_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/jsonrow"
)

type item struct {
	ID    string   `json:"id"`
	Count int      `json:"count"`
	Tags  []string `json:"tags"`
	On    bool     `json:"on"`
	In    struct {
		X float64 `json:"x"`
	} `json:"in"`
}

func (i item) Validate() error {
	if i.Count < 0 {
		return errors.New("the count is negative")
	}
	return nil
}

func TestDecode(t *testing.T) {
	for row, want := range map[string]string{
		`{"id":"a","count":1,"more":true}`: "",
		`{"count":"x"}`:                    `unknown field "count": want number (int), found string`,
		`{"tags":1}`:                       `unknown field "tags": want array, found number`,
		`{"on":1}`:                         `unknown field "on": want bool, found number`,
		`{"in":{"x":"1"}}`:                 `unknown field "in.x": want number (float64), found string`,
		`{"in":[]}`:                        `unknown field "in": want object, found array`,
		`{"id":7}`:                         `unknown field "id": want string, found number`,
		`7`:                                `unknown want object, found number`,
		`{"id":`:                           `unknown it is no JSON, from byte 6 on: unexpected end`,
		``:                                 `unknown it is no JSON, from byte 0 on: unexpected end`,
		"{\"id\":\"\xff\"}":                `decode decode: it is not valid UTF-8`,
		`{"count":-1}`:                     `validation validation: the count is negative`,
	} {
		v, err := jsonrow.Decode[item]([]byte(row))
		if want == "" {
			if err != nil || v.ID != "a" || v.Count != 1 {
				t.Errorf("%s: %+v, %v", row, v, err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(string(event.KindOf(err))+" "+err.Error(), want) {
			t.Errorf("%s: %s %v, want %s", row, event.KindOf(err), err, want)
		}
	}
}
