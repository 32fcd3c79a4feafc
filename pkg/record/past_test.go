// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// TestThePastIsWhatWasKnownThen reads up to moments of a recording of several
// keys, from a file and from a stream, whole and cut off in the middle.
func TestThePastIsWhatWasKnownThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		frames := story()
		b := write(t, frames, time.Second, &file{}) // three minutes, three keys
		read := func(r io.Reader, until time.Time) (out []*wire.Frame) {
			t.Helper()
			if err := Past(r, until, func(f *wire.Frame) { out = append(out, f) }); err != nil {
				t.Fatal(err)
			}
			return out
		}
		for _, after := range []time.Duration{500 * time.Millisecond, 10 * time.Second, 59 * time.Second, 61 * time.Second, 150 * time.Second, time.Hour} {
			until := begin.Add(after)
			n := min(len(frames), int(after/time.Second)+1)
			for what, r := range map[string]io.Reader{
				"file": bytes.NewReader(b), "stream": io.MultiReader(bytes.NewReader(b)), "cut file": bytes.NewReader(b[:len(b)-3]),
			} {
				got := read(r, until)
				if what == "cut file" && n > len(frames)-70 {
					continue // what isn't there can't be read
				}
				if len(got) != n {
					t.Errorf("%s up to %s: %d frames, want %d", what, after, len(got), n)
					continue
				}
				for i := range got {
					if !proto.Equal(got[i], frames[i]) {
						t.Errorf("%s up to %s: frame %d is %v", what, after, i, got[i])
						break
					}
				}
			}
		}
		var keys []time.Time
		s := bytes.NewReader(b)
		for at := int64(bytes.Index(b, []byte(keyMagic)) - 8); ; {
			key, next, ok := keyAt(s, at)
			if !ok {
				break
			}
			keys, at = append(keys, key), next
		}
		if n := bytes.Count(b, []byte(keyMagic)); len(keys) != n || n < 3 || keys[1].Sub(keys[0]) < time.Minute {
			t.Errorf("walked over %d keys of %d: %v", len(keys), n, keys)
		}
	})
}

func TestStopAndStartAgain(t *testing.T) {
	src, one, two := newSource(), &file{}, &file{}
	tee := Wrap(src)
	go func() {
		for range tee.Frames() {
		}
	}()
	if err := tee.Stop(); err == nil {
		t.Error("stopped what didn't run")
	}
	if err := tee.StartTo(one, Options{}); err != nil {
		t.Fatal(err)
	}
	for _, fr := range story() {
		src.frames <- fr
	}
	if err := tee.Stop(); err != nil || !one.closed {
		t.Errorf("stop: %v, closed %v", err, one.closed)
	}
	if err := tee.StartTo(two, Options{}); err != nil {
		t.Fatal(err)
	}
	owned := flowFrame(7, wire.Flow_COUNTERS, 0)
	owned.GetFlows().GetFlows()[0].Owner = &wire.Owner{Command: "curl"}
	src.frames <- owned
	if err := tee.Close(t.Context()); err != nil {
		t.Error(err)
	}
	first, err := read(t, one.bytes())
	if err != nil || len(first) < len(story()) {
		t.Errorf("the first recording has %d frames, %v", len(first), err)
	}
	if second, err := read(t, two.bytes()); err != nil || len(second) == 0 || second[0].GetWorld() == nil {
		t.Errorf("the second doesn't begin with what was known: %v", err)
	}
}
