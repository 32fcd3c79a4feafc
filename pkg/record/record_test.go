// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
)

// source is a Source that a test feeds.
type source struct {
	frames chan *wire.Frame
	once   sync.Once
}

func newSource() *source { return &source{frames: make(chan *wire.Frame)} }

func (s *source) Frames() <-chan *wire.Frame  { return s.frames }
func (s *source) Err() error                  { return nil }
func (s *source) Close(context.Context) error { s.end(); return nil }
func (s *source) end()                        { s.once.Do(func() { close(s.frames) }) }

// file keeps what is written; a nil limit never fails.
type file struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	closed bool
	limit  int
}

func (f *file) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.limit > 0 && f.buf.Len()+len(b) > f.limit {
		return 0, errors.New("no space left on device")
	}
	return f.buf.Write(b)
}

func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

func (f *file) bytes() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return bytes.Clone(f.buf.Bytes())
}

func flowFrame(id uint64, kind wire.Flow_Kind, ep uint32) *wire.Frame {
	fl := &wire.Flow{Id: id, Kind: kind, Endpoint: ep, PacketsIn: 10 * id}
	if ep != 0 {
		fl.Direction, fl.Protocol, fl.LocalIp, fl.PeerIp, fl.LocalPort = 1, 6, []byte{10, 0, 0, 1}, []byte{10, 0, 0, 2}, 80
	}
	return &wire.Frame{Seq: id, Node: "n1", TimeNs: int64(id), Body: &wire.Frame_Flows{Flows: &wire.Flows{Flows: []*wire.Flow{fl}}}}
}

func story() []*wire.Frame {
	out := []*wire.Frame{
		{Node: "n1", Body: &wire.Frame_Hello{Hello: &wire.Hello{Version: 1, Node: "n1", Instance: "a"}}},
		{Body: &wire.Frame_World{World: &wire.World{Reset_: true, Pods: []*wire.Pod{{Namespace: "shop", Name: "web", Endpoint: 1}, {Namespace: "shop", Name: "db"}}}}},
		{Body: &wire.Frame_RuleNames{RuleNames: &wire.RuleNames{Sets: []*wire.SetNames{{Set: 1}}}}},
		{Body: &wire.Frame_PolicyStates{PolicyStates: &wire.PolicyStates{Policies: []*wire.PolicyState{{Name: "a"}}, More: true}}},
		{Body: &wire.Frame_PolicyStates{PolicyStates: &wire.PolicyStates{Policies: []*wire.PolicyState{{Name: "b"}}}}},
		{Node: "n1", Body: &wire.Frame_EndpointStates{EndpointStates: &wire.EndpointStates{States: []*wire.EndpointState{{Id: 1, Attached: true}}}}},
	}
	for id := uint64(1); id <= 200; id++ {
		out = append(out, flowFrame(id, wire.Flow_NEW, 1))
	}
	return append(out, flowFrame(7, wire.Flow_COUNTERS, 0), flowFrame(8, wire.Flow_CLOSE, 0))
}

// record writes frames and returns the file. gap passes between them.
func write(t *testing.T, frames []*wire.Frame, gap time.Duration, f *file) []byte {
	t.Helper()
	src := newSource()
	tee := Wrap(src)
	if err := tee.StartTo(f, Options{Source: "a test", Program: "test"}); err != nil {
		t.Fatal(err)
	}
	go func() {
		for _, fr := range frames {
			src.frames <- fr
			if gap > 0 {
				time.Sleep(gap)
			}
		}
		src.end()
	}()
	n := 0
	for f := range tee.Frames() {
		if f.GetNotice() == nil && !proto.Equal(f, frames[n]) {
			t.Fatalf("frame %d changed on its way", n)
		}
		if f.GetNotice() == nil {
			n++
		}
	}
	if n != len(frames) {
		t.Errorf("%d frames of %d came through", n, len(frames))
	}
	err := tee.Close(t.Context())
	if f.limit == 0 && err != nil || !f.closed {
		t.Errorf("close: %v, file closed: %v", err, f.closed)
	}
	if f.limit > 0 && (err == nil || !strings.Contains(err.Error(), "no space")) {
		t.Errorf("close: %v", err)
	}
	return f.bytes()
}

func read(t *testing.T, b []byte) ([]*wire.Frame, error) {
	t.Helper()
	p, err := OpenReader("test", io.NopCloser(bytes.NewReader(b)), Play{})
	if err != nil {
		return nil, err
	}
	var out []*wire.Frame
	for f := range p.Frames() {
		out = append(out, f)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	return out, p.Err()
}

func TestRoundTrip(t *testing.T) {
	want := story()
	b := write(t, want, 0, &file{})
	got, err := read(t, b)
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d frames of %d, %v", len(got), len(want), err)
	}
	for i := range got {
		if !proto.Equal(got[i], want[i]) {
			t.Errorf("frame %d: %v, want %v", i, got[i], want[i])
		}
	}
	t.Logf("%d frames in %d bytes", len(want), len(b))
}

func TestCutAnywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := story()
		b := write(t, want, 100*time.Millisecond, &file{})
		most := 0
		for n := 0; n <= len(b); n += 7 {
			got, err := read(t, b[:n])
			if errors.Is(err, ErrNotARecording) && n < 64 {
				continue
			}
			if err != nil {
				t.Fatalf("cut at %d of %d: %v", n, len(b), err)
			}
			if k := len(got); k > 0 && got[k-1].GetNotice() != nil {
				if !strings.Contains(got[k-1].GetNotice().GetText(), "cut off") {
					t.Errorf("notice: %v", got[k-1])
				}
				got = got[:k-1]
			}
			if len(got) < most {
				t.Fatalf("cut at %d: %d frames, earlier cuts had %d", n, len(got), most)
			}
			most = len(got)
			for i := range got {
				if !proto.Equal(got[i], want[i]) {
					t.Fatalf("cut at %d: frame %d is another", n, i)
				}
			}
		}
		if most < len(want)-10 { // a second of them
			t.Errorf("%d frames of %d", most, len(want))
		}
	})
}

func TestKilledWriterLosesAtMostASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, f := newSource(), &file{}
		tee := Wrap(src)
		if err := tee.StartTo(f, Options{}); err != nil {
			t.Fatal(err)
		}
		go func() {
			for range tee.Frames() {
			}
		}()
		frames := story()
		for _, fr := range frames {
			src.frames <- fr
		}
		time.Sleep(2 * time.Second)
		got, err := read(t, f.bytes()) // as it is on disk now
		if err != nil || len(got) != len(frames)+1 || got[len(got)-1].GetNotice() == nil {
			t.Errorf("%d frames of %d, %v", len(got), len(frames), err)
		}
		if err := tee.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestKeysLetAReaderStartThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := append(story(), flowFrame(300, wire.Flow_NEW, 1), flowFrame(301, wire.Flow_NEW, 1))
		b := write(t, want, 300*time.Millisecond, &file{}) // a minute and some
		if got, err := read(t, b); err != nil || len(got) != len(want) {
			t.Errorf("from the start: %d frames of %d, %v: what keys repeat must be skipped", len(got), len(want), err)
		}
		i := bytes.LastIndex(b, []byte(keyMagic))
		if bytes.Count(b, []byte(keyMagic)) < 2 {
			t.Fatal("no key after a minute")
		}
		head := b[:bytes.Index(b, []byte(keyMagic))-8]
		got, err := read(t, append(bytes.Clone(head), b[i-8:]...))
		if err != nil {
			t.Fatal(err)
		}
		var world, names, hello, states bool
		policies, flows := 0, map[uint64]*wire.Flow{}
		for _, f := range got {
			world = world || f.GetWorld().GetReset_() && len(f.GetWorld().GetPods()) == 2 && f.GetWorld().GetPods()[1].GetEndpoint() == 1
			names = names || f.GetRuleNames() != nil
			hello = hello || f.GetHello() != nil && f.GetNode() == "n1"
			states = states || f.GetEndpointStates() != nil
			policies += len(f.GetPolicyStates().GetPolicies())
			for _, fl := range f.GetFlows().GetFlows() {
				if flows[fl.GetId()] == nil {
					if _, _, ok := fl.Tuple(); !ok {
						t.Errorf("flow %d without a name", fl.GetId())
					}
				}
				flows[fl.GetId()] = fl
			}
		}
		if !world || !names || !hello || !states || policies != 2 || len(flows) < 200 {
			t.Errorf("world %v, names %v, hello %v, states %v, policies %d, flows %d", world, names, hello, states, policies, len(flows))
		}
	})
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		frames := story()[:20]
		b := write(t, frames, time.Second, &file{})
		for _, c := range []struct {
			speed float64
			want  time.Duration
		}{{1, 19 * time.Second}, {2, 9500 * time.Millisecond}, {0, 0}} {
			start := time.Now()
			p, err := OpenReader("test", io.NopCloser(bytes.NewReader(b)), Play{Speed: c.speed})
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for range p.Frames() {
				n++
			}
			if d := time.Since(start); n != len(frames) || d < c.want-100*time.Millisecond || d > c.want+1100*time.Millisecond {
				t.Errorf("speed %v: %d frames in %s, want %s", c.speed, n, d, c.want)
			}
			if err := p.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
		p, err := OpenReader("test", io.NopCloser(bytes.NewReader(b)), Play{Speed: 1, Paused: true})
		if err != nil {
			t.Fatal(err)
		}
		<-p.Frames()
		time.Sleep(time.Hour)
		if n := len(p.Frames()); n != 0 {
			t.Errorf("paused, yet %d frames came", n)
		}
		p.SetPaused(false)
		<-p.Frames()
		p.SetSpeed(0)
		for range p.Frames() {
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestDiskFull(t *testing.T) {
	b := write(t, story(), 0, &file{limit: 300})
	if _, err := read(t, b); err != nil {
		t.Errorf("what was written before: %v", err)
	}
}

func TestHostileFiles(t *testing.T) {
	good := write(t, story(), 0, &file{})
	head := good[:bytes.Index(good, []byte(keyMagic))-8]
	pack := func(content io.Reader) []byte {
		var buf bytes.Buffer
		buf.Write(head)
		z, err := zstd.NewWriter(&buf)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(z, content); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	flipped := bytes.Clone(good)
	flipped[len(good)/2] ^= 0xff
	for name, b := range map[string][]byte{
		"empty":           nil,
		"text":            []byte("kind: NetworkPolicy\n"),
		"future":          append([]byte(magic), 2, 0x08, 9),
		"huge header":     append([]byte(magic), 0xff, 0xff, 0xff, 0x7f),
		"header only":     []byte(magic),
		"flipped bits":    flipped,
		"not zstd":        append(bytes.Clone(head), "hello"...),
		"garbage in zstd": pack(strings.NewReader("\xff\xff\xff\xff\xff\xff")),
		"bomb of zeros":   pack(io.LimitReader(zeros{}, 256<<20)),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := read(t, b); err == nil {
				t.Error("read without an error")
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestCreateKeepsWhatIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.ebpol")
	src := newSource()
	tee, err := Create(path, src, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm()&0o077 != 0 {
		t.Errorf("file: %v, %v; want it for the owner alone", st, err)
	}
	if err := tee.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := Create(path, src, Options{}); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second time: %v", err)
	}
	p, err := Open(path, Play{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := Open(path+"x", Play{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that isn't there: %v", err)
	}
}

func TestStartLater(t *testing.T) {
	src, f := newSource(), &file{}
	tee := Wrap(src)
	go func() {
		for range tee.Frames() {
		}
	}()
	for _, fr := range story() {
		src.frames <- fr
	}
	if err := tee.StartTo(f, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := tee.StartTo(&file{}, Options{}); err == nil {
		t.Error("two recordings at once")
	}
	src.frames <- flowFrame(9, wire.Flow_COUNTERS, 0)
	if err := tee.Close(t.Context()); err != nil {
		t.Error(err)
	}
	got, err := read(t, f.bytes())
	if err != nil {
		t.Fatal(err)
	}
	named := false
	for _, fr := range got {
		for _, fl := range fr.GetFlows().GetFlows() {
			_, _, ok := fl.Tuple()
			named = named || ok && fl.GetId() == 9
		}
	}
	if !named || got[0].GetWorld() == nil {
		t.Errorf("what was known before must be told first: named %v, first %v", named, got[0])
	}
	if err := tee.Start(filepath.Join(t.TempDir(), "x"), Options{}); err == nil {
		t.Error("started after the end")
	}
}

// FuzzOpen reads bytes as a recording: no panic, no end of memory.
func FuzzOpen(f *testing.F) {
	src, out := newSource(), &file{}
	tee := Wrap(src)
	if err := tee.StartTo(out, Options{}); err != nil {
		f.Fatal(err)
	}
	go func() {
		for range tee.Frames() {
		}
	}()
	for _, fr := range story()[:10] {
		src.frames <- fr
	}
	if err := tee.Close(f.Context()); err != nil {
		f.Fatal(err)
	}
	f.Add(out.bytes())
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = read(t, b) })
}
