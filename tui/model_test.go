// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/store"
	"github.com/ebpol/kubectl-ebpol/tui/internal/fake"
)

func on(name string) func(*Options) { return func(o *Options) { o.StartPage = name } }

func TestOptionsSayWhatIsMissing(t *testing.T) {
	if _, err := New(Options{}); err == nil || !strings.Contains(err.Error(), "Options.Snapshots") {
		t.Fatalf("got %v", err)
	}
	w := fake.New()
	_, err := New(Options{Snapshots: w, Actions: w, StartPage: "nowhere"})
	if err == nil || !strings.Contains(err.Error(), "timeline") {
		t.Fatalf("an unknown page should list the known ones: %v", err)
	}
}

func TestEnforceTakesATypedWordAndSaysWhatItWouldCut(t *testing.T) {
	w := fake.New()
	d := drive(t, w, 120, 40, on("policies"))
	d.keys("down", "e")
	d.shows("Enforce shop/db-allow for 10m?", "These 2 live connections would be cut", "shop/cronjob/report → shop/sts/db")
	d.keys("enter")
	d.shows("type the word enforce")
	d.typed("yes").keys("enter")
	if calls := w.Done(); len(calls) != 0 {
		t.Fatalf("another word enforced: %q", calls)
	}
	d.keys("backspace", "backspace", "backspace").typed("enforce 5m").keys("enter")
	if got, want := w.Done(), []string{"mode shop/db-allow enforced", "enforce 5m0s"}; !slices.Equal(got, want) {
		t.Fatalf("calls %q, want %q", got, want)
	}
	d.tick()
	d.shows("ENFORCING 5:00 left", "✗ enforced")
	d.keys("1")
	d.shows("ENFORCING")
	d.keys("r")
	d.tick()
	d.shows("Released")
	d.hides("ENFORCING")
}

func TestEscapeFromTheQuestionEnforcesNothing(t *testing.T) {
	w := fake.New()
	d := drive(t, w, 100, 30, on("policies"))
	d.keys("down", "e").typed("enforce").keys("esc")
	d.shows("Nothing was enforced")
	if calls := w.Done(); len(calls) != 0 {
		t.Fatalf("calls %q", calls)
	}
}

func TestToggleWalksThroughTheModes(t *testing.T) {
	w := fake.New()
	d := drive(t, w, 120, 40, on("policies"))
	d.keys("end", "t") // orders-egress is off
	d.tick()
	d.shows("shop/orders-egress is in dry-run")
	d.keys("t")
	d.shows("Enforce shop/orders-egress")
	d.typed("enforce").keys("enter")
	d.tick()
	d.keys("t")
	want := []string{"mode shop/orders-egress dry-run", "mode shop/orders-egress enforced", "enforce 10m0s", "mode shop/orders-egress off"}
	if got := w.Done(); !slices.Equal(got, want) {
		t.Fatalf("calls %q, want %q", got, want)
	}
}

func TestWhatIsUnsafeIsRefusedInWords(t *testing.T) {
	w := fake.New()
	w.Refuse = errors.New("policy \"db-allow\" would cut DNS of kube-system; use --force if you mean it")
	d := drive(t, w, 120, 40, on("policies"))
	d.keys("down", "e")
	d.shows("would cut DNS", "--force")
	d = drive(t, fake.Recording(), 120, 40, on("policies"))
	d.shows("recording")
	d.keys("down", "e")
	d.shows("This is a recording", "Run the same command on the cluster")
	d = drive(t, w, 120, 40, on("policies"))
	d.keys("down", "down", "down", "d") // a kind that isn't judged
	d.shows("can't be judged")
}

func TestTheCursorStaysOnItsRow(t *testing.T) {
	w := fake.Many(500)
	d := drive(t, w, 120, 40, on("connections"))
	line := func() (at int, text string) {
		for i, l := range strings.Split(d.text(), "\n") {
			if strings.HasPrefix(l, "▸") {
				return i, l
			}
		}
		t.Fatalf("no cursor:\n%s", d.text())
		return 0, ""
	}
	newer := func(id uint64) *store.FlowRow {
		return &store.FlowRow{ID: store.FlowID{Node: "node-a", ID: 1_000_000 + id}, Event: flow.Event{Verdict: flow.Deny, Source: &flow.Peer{Name: "newcomer"}}}
	}
	w.Add(newer(900))
	d.tick()
	if _, text := line(); !strings.Contains(text, "newcomer") {
		t.Fatalf("while nobody has pressed a key the first row is the one to begin with: %q", text)
	}
	d.keys("w", "w")
	first, reading := line()
	w.Add(newer(1000))
	d.tick()
	if at, text := line(); text[:60] != reading[:60] || at != first+1 {
		t.Fatalf("a cursor that was never moved left its row, or the first row isn't seen:\n%s", d.text())
	}
	for i := range 60 { // more than the screen has lines: what comes is seen
		w.Add(newer(1100 + uint64(i)))
	}
	d.tick()
	if at, text := line(); at != first || !strings.Contains(text, "newcomer") {
		t.Fatalf("a cursor that was never moved holds the first row back:\n%s", d.text())
	}
	d.keys("g")
	w.Add(newer(1900))
	d.tick()
	if at, _ := line(); at != first {
		t.Fatalf("g lets the cursor go down with its row:\n%s", d.text())
	}
	d.keys("down", "down", "down")
	at, before := line()
	for i := range 40 {
		w.Add(newer(2000 + uint64(i)))
		d.tick()
	}
	now, after := line()
	if before[:60] != after[:60] {
		t.Fatalf("the cursor left its row:\n%s\n%s", before, after)
	}
	if now != at {
		t.Fatalf("the row moved from line %d to line %d", at, now)
	}
	d.keys("g")
	if _, text := line(); !strings.Contains(text, "newcomer") {
		t.Fatalf("g should go to the top: %q", text)
	}
}

func TestFreezeStopsThePageAndNotTheCounters(t *testing.T) {
	w := fake.New()
	d := drive(t, w, 140, 40, on("connections"))
	d.keys("space")
	d.shows("frozen at 14:02:11", "counters go on")
	before := strings.Split(d.text(), "\n")[3:]
	w.Add(&store.FlowRow{ID: store.FlowID{ID: 99}, Event: flow.Event{Verdict: flow.Deny, Source: &flow.Peer{Name: "newcomer"}}})
	w.SetHealth(func(h *store.Health) { h.Loss.Ring = 77 })
	d.tick()
	d.shows("77 lost")
	if after := strings.Split(d.text(), "\n")[3:]; !slices.Equal(before, after) {
		t.Fatalf("the frozen page moved:\n%s", d.text())
	}
	d.keys("space")
	d.tick()
	d.shows("newcomer")
	d.hides("frozen")
}

func TestNothingIsDrawnWhenNothingChanges(t *testing.T) {
	d := drive(t, fake.New(), 120, 40, on("connections"))
	d.tick()
	before := d.m.renders
	for range 50 {
		d.tick()
	}
	if n := d.m.renders - before; n != 0 {
		t.Fatalf("%d renders without a change", n)
	}
	d.world.Step(time.Second)
	d.tick()
	if n := d.m.renders - before; n != 1 {
		t.Fatalf("%d renders for one change", n)
	}
	if d.m.quiet > 0 {
		t.Fatalf("quiet %d after a change", d.m.quiet)
	}
}

// versioned counts snapshots of a source that knows its version.
type versioned struct{ *fake.World }

var _ Versioned = versioned{}

func (v versioned) Version(store.Query) uint64 { return v.Snapshot(store.Query{Header: true}).ID }

func (v versioned) Now() time.Time { return v.Snapshot(store.Query{Header: true}).Time }

type counted struct {
	Snapshots
	version, snapshots int
}

var _ Versioned = (*counted)(nil)

func (c *counted) Version(store.Query) uint64 { c.version++; return 7 }

func (c *counted) Now() time.Time { return time.Time{} }

func (c *counted) Snapshot(q store.Query) *store.Snapshot {
	c.snapshots++
	return c.Snapshots.Snapshot(q)
}

func TestAVersionThatStaysSavesTheSnapshot(t *testing.T) {
	w := fake.New()
	c := &counted{Snapshots: w}
	d := drive(t, w, 100, 30, func(o *Options) { o.Snapshots = c })
	before := c.snapshots
	for range 20 {
		d.tick()
	}
	if c.snapshots != before || c.version < 20 {
		t.Fatalf("%d snapshots, %d versions asked", c.snapshots-before, c.version)
	}
	d.keys("2")
	if c.snapshots == before {
		t.Fatal("another page needs a snapshot")
	}
	d = drive(t, w, 100, 30, func(o *Options) { o.Snapshots, o.StartPage = versioned{w}, "connections" })
	w.Add(&store.FlowRow{ID: store.FlowID{ID: 99}, Event: flow.Event{Source: &flow.Peer{Name: "newcomer"}}})
	d.tick()
	d.shows("newcomer")
}

func TestResizeRestsBeforeItCounts(t *testing.T) {
	d := drive(t, fake.New(), 120, 40, nil)
	before := d.m.renders
	for w := 119; w > 80; w-- {
		d.send(tea.WindowSizeMsg{Width: w, Height: 30})
	}
	if n := d.m.renders - before; n != 0 {
		t.Fatalf("%d renders while the corner is dragged", n)
	}
	d.rest()
	if n := d.m.renders - before; n != 1 || d.m.width != 81 {
		t.Fatalf("%d renders at rest, width %d", n, d.m.width)
	}
	d.size(12, 3)
	d.shows("too small", "12x3")
	d.size(100, 30)
	d.shows("ebpol")
}

func TestFilterWhileTyping(t *testing.T) {
	d := drive(t, fake.New(), 120, 40, on("connections"))
	d.keys("/").typed("intr")
	d.shows("/intr", "Nothing matches")
	d.keys("esc")
	d.shows("report-29384")
	d.keys("/").typed("to=db-0 verdict=would-deny").keys("enter")
	d.shows("report-29384", "/to=db-0 verdict=would-deny", "1/1")
	d.hides("cart-5c8d7f9b4")
	d.keys("/").typed("(").keys("enter")
	d.shows("verdicts are")
	d.keys("esc", "esc", "/").typed("(")
	d.shows("not a regular expression", "shell-6f5d")
	d.keys("esc")
	d.shows("cart-5c8d7f9b4", "/10")
	d.keys("1", "/").typed("!shell").keys("enter")
	d.hides("deploy/shell")
	d.shows("deploy/web")
}

func TestTroubleAndChanges(t *testing.T) {
	d := drive(t, fake.New(), 120, 40, on("flows"))
	d.keys("ctrl+z")
	d.shows("trouble only", "default/deploy/shell")
	d.hides("203.0.113.77")
	d.keys("ctrl+z", "c")
	d.shows("flows (changes)", "~ would deny", "denied →✓")
	d.hides("✓ allowed")
}

func TestCommands(t *testing.T) {
	d := drive(t, fake.New(), 120, 40, nil)
	d.keys(":").typed("drops").keys("enter")
	d.shows("3 drops")
	d.keys(":").typed("pol").keys("enter")
	d.shows("DECIDED")
	d.keys(":").typed("nodes").keys("enter")
	d.keys(":").typed("sort cpu").keys("enter")
	d.shows("CPU↓")
	d.keys(":").typed("sort nonsense").keys("enter")
	d.shows("Sort by one of")
	d.keys(":").typed("pod report-29384-x8v2l").keys("enter")
	d.shows("/pod=report-29384-x8v2l", "1/1")
	d.keys(":").typed("bogus").keys("enter")
	d.shows("There is no command :bogus")
	d.keys(":").typed("group namespace").keys("enter")
	d.shows("top by namespace")
	d.keys(":").typed("tim").keys("tab", "enter")
	d.shows("WHAT HAPPENED")
	d.keys(":").typed("q").keys("enter")
	if !d.quit {
		t.Fatal(":q should quit")
	}
}

func TestCrumbsAndBack(t *testing.T) {
	d := drive(t, fake.New(), 120, 40, nil)
	d.keys("enter")
	d.shows("top by workload  › connections of shop/deploy/web")
	d.keys("enter")
	d.shows("› why", "CANDIDATE")
	d.size(50, 24)
	d.shows(" top by workload  › …  › why") // what is left out is marked
	d.send(tea.MouseClickMsg{X: 19, Y: 1, Button: tea.MouseLeft})
	if got := d.m.page().Name(); got != "connections" {
		t.Fatalf("a click on the ellipsis opened %s", got)
	}
	d.size(40, 24)
	d.shows(" …  › connections of shop/dep")
	d.size(120, 40)
	d.keys("enter", "esc", "-")
	d.shows("WORKLOAD")
	for range 50 {
		d.keys("?")
		d.keys("?")
	}
	if len(d.m.stack) != 1 {
		t.Fatalf("%d pages on the stack", len(d.m.stack))
	}
}

func TestSortingShowsAnArrow(t *testing.T) {
	d := drive(t, fake.New(), 160, 40, nil)
	d.shows("RATE↓")
	d.keys("D")
	d.shows("✗ DENIED↓")
	first := func() string { return strings.Split(d.text(), "\n")[4] }
	if !strings.Contains(first(), "cart") {
		t.Fatalf("sorted by denied: %q", first())
	}
	d.keys("N")
	if !strings.Contains(first(), "default/deploy/shell") {
		t.Fatalf("sorted by name: %q", first())
	}
	d.keys("N")
	d.shows("WORKLOAD↓")
	d.keys(">")
	d.shows("RATE↓")
	d.keys("<")
	d.shows("WORKLOAD↑")
}

func TestCopyAndExport(t *testing.T) {
	dir := t.TempDir()
	d := drive(t, fake.New(), 120, 40, func(o *Options) { o.StartPage, o.ExportDir = "connections", dir })
	d.keys("down", "down", "y")
	if len(d.clip) != 1 || !strings.Contains(d.clip[0], `"pod":"report-29384-x8v2l"`) {
		t.Fatalf("clipboard %q", d.clip)
	}
	d.keys("x")
	d.shows("Wrote 10 lines to")
	files, err := filepath.Glob(filepath.Join(dir, "ebpol-connections-*.jsonl"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q %v", files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil || bytes.Count(b, []byte("\n")) != 10 {
		t.Fatalf("%d lines, %v", bytes.Count(b, []byte("\n")), err)
	}
	d.keys("x") // the same second: nothing is overwritten
	d.shows("Wrote 10 lines to", "-2.jsonl")
	d.keys("space", "x", "x") // a frozen screen's time doesn't go on
	d.shows("-4.jsonl")
	if files, _ = filepath.Glob(filepath.Join(dir, "*.jsonl")); len(files) != 4 {
		t.Errorf("%q", files)
	}
}

func TestMouse(t *testing.T) {
	d := drive(t, fake.New(), 120, 40, on("flows"))
	d.send(tea.MouseWheelMsg{Button: tea.MouseWheelDown, X: 5, Y: 10})
	d.shows("4/10")
	d.send(tea.MouseClickMsg{Button: tea.MouseLeft, X: 5, Y: 5})
	d.shows("2/10")
	x := strings.Index(strings.Split(d.text(), "\n")[1], "4 policies")
	d.send(tea.MouseClickMsg{Button: tea.MouseLeft, X: x, Y: 1})
	d.shows("DECIDED")
	head := []rune(strings.Split(d.text(), "\n")[3])
	d.send(tea.MouseClickMsg{Button: tea.MouseLeft, X: strings.Index(string(head), "DECIDED"), Y: 3})
	d.shows("DECIDED↓")
}

func TestFlowsSumUpAndOpen(t *testing.T) {
	w := fake.Many(1000)
	d := drive(t, w, 140, 40, on("flows"))
	d.shows("deploy/shell", "sts/db", "CONNS")
	d.keys("enter")
	d.shows("flows  › connections of default/deploy/shell → shop/sts/db", "1/100")
	d.keys("enter")
	d.shows("› why", "• NetworkPolicy shop/default-deny")
	d.keys("esc", "esc", "b")
	d.shows("1/1,000")
}

func TestTheTimelineLeavesOutWhatIsOrdinary(t *testing.T) {
	d := drive(t, fake.New(), 140, 40, on("timeline"))
	d.shows("would deny", "dropped", "samples lost", "stream was cut", "db-allow is dry-run now")
	d.hides("closed", "first packet")
	d.keys("a")
	d.shows("timeline (all)", "closed", "first packet")
}

func TestWhatTheSessionSaysOfItselfIsShownOnAnyPage(t *testing.T) {
	w := fake.New()
	d := drive(t, w, 120, 40, nil)
	w.SetHealth(func(h *store.Health) { h.Notice, h.Notices = "the policies can't be compiled", 1 })
	d.tick()
	d.shows("the policies can't be compiled")
	d.keys("5")
	d.tick()
	d.shows("The session, last: the policies can't be compiled")
}

func TestLeavingWhileEnforcingAsksOnce(t *testing.T) {
	w := fake.New()
	d := drive(t, w, 120, 40, nil)
	if err := w.Enforce(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	d.tick()
	d.keys("q")
	d.shows("Leaving ends the enforcement")
	if d.quit {
		t.Fatal("q left at once")
	}
	d.keys("j", "q")
	if d.quit {
		t.Fatal("another key in between should ask again")
	}
	d.keys("q")
	if !d.quit {
		t.Fatal("the second q should leave")
	}
}

func TestEmptyStatesSayWhatWillAppear(t *testing.T) {
	d := drive(t, fake.Empty(), 120, 40, on("connections"))
	d.shows("No probe is live yet: 0 of 2", "Key 5")
	d.keys("4")
	d.shows("0/2 nodes")
}

func TestHelpComesFromTheKeyMap(t *testing.T) {
	w := fake.New()
	w.SetHealth(func(h *store.Health) { h.Enforcing = true })
	d := drive(t, w, 200, 60, on("timeline"))
	d.keys("left", "4", "?") // a lease runs, and the past is shown: all keys work
	for _, s := range append(d.m.roots[3].Sections(), d.m.env.Keys.Everywhere()...) {
		for _, b := range s.Bindings {
			want := b.Help().Desc
			for _, f := range d.m.roots[3].Footer() { // the same words as there
				if f.Help().Key == b.Help().Key {
					want = f.Help().Desc
				}
			}
			if b.Help().Key != "enter" || s.Title != "Go" { // a page that opens something says what
				d.shows(want)
			}
		}
	}
	d.shows(":matrix", "✓ allowed", "~ would deny", "✗ denied", "? contested")
}

func TestRunShowsAndQuits(t *testing.T) {
	w := fake.New()
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	in := strings.NewReader("q")
	if err := Run(ctx, Options{Snapshots: w, Actions: w, Input: in, Output: &out, NoColor: true}); err != nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatal("q didn't quit")
	}
}
