// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"embed"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/tools/txtar"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
	"github.com/ebpol/kubectl-ebpol/pkg/identity"
	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

//go:embed cases
var files embed.FS

// Case is one file.
type Case struct {
	Name   string // of the file, such as "05-and-or"
	Number int
	About  string
	Steps  []Step
}

// Step is one state of the cluster with the packets to ask about.
type Step struct {
	World    *identity.World
	Policies []*policy.Policy
	Packets  []Packet
}

// Packet is one question with its answer.
type Packet struct {
	policy.Packet
	Line            string // as written, and the family
	Want            flow.Verdict
	Cases           []int        // if contested: every open case that must be named
	Egress, Ingress flow.Verdict // NotJudged: not said
}

// All reads every case.
func All() ([]Case, error) {
	base, err := fs.ReadFile(files, "cases/base.yaml")
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(files, "cases")
	if err != nil {
		return nil, err
	}
	var out []Case
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".txtar")
		if !ok {
			continue
		}
		data, err := fs.ReadFile(files, "cases/"+e.Name())
		if err != nil {
			return nil, err
		}
		c, err := read(name, data, base)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		out = append(out, c)
	}
	return out, nil
}

func read(name string, data, base []byte) (Case, error) {
	archive := txtar.Parse(data)
	number, _, _ := strings.Cut(name, "-")
	n, err := strconv.Atoi(number)
	if err != nil {
		return Case{}, fmt.Errorf("the name must begin with the number of the case: %w", err)
	}
	c := Case{Name: name, Number: n, About: strings.TrimSpace(string(archive.Comment))}
	step := Step{}
	if step.World, err = readWorld(base); err != nil {
		return Case{}, err
	}
	for _, f := range archive.Files {
		switch f.Name {
		case "world":
			step.World, err = readWorld(f.Data)
		case "policies":
			var o *policy.Objects
			o, err = policy.Parse(f.Data, name)
			step.Policies = o.Policies
		case "packets":
			step.Packets, err = readPackets(step.World, string(f.Data))
			c.Steps = append(c.Steps, step)
		default:
			err = fmt.Errorf("section %q: use world, policies or packets", f.Name)
		}
		if err != nil {
			return Case{}, err
		}
	}
	return c, nil
}

func readPackets(w *identity.World, text string) ([]Packet, error) {
	var out []Packet
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		list, err := readPacket(w, line)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		out = append(out, list...)
	}
	return out, nil
}

func readPacket(w *identity.World, line string) ([]Packet, error) {
	i := strings.LastIndex(line, ": ")
	if i < 0 {
		return nil, fmt.Errorf("no answer: write FROM -> TO PROTOCOL [PORT]: VERDICT")
	}
	p := Packet{Line: line}
	if err := p.readAnswer(line[i+2:]); err != nil {
		return nil, err
	}
	words := strings.Fields(line[:i])
	if len(words) < 4 || len(words) > 5 || words[1] != "->" {
		return nil, fmt.Errorf("write FROM -> TO PROTOCOL [PORT]: VERDICT")
	}
	proto, icmpType, _ := strings.Cut(words[3], "/")
	var err error
	if p.Protocol, err = flow.ParseProtocol(proto); err != nil {
		return nil, err
	}
	if icmpType != "" {
		n, err := strconv.ParseUint(icmpType, 10, 8)
		if err != nil {
			return nil, err
		}
		p.ICMPType, p.HasICMPType = uint8(n), true
	}
	if len(words) == 5 {
		n, err := strconv.ParseUint(words[4], 10, 16)
		if err != nil {
			return nil, err
		}
		p.Port = uint16(n)
	}
	return expand(w, p, words[0], words[2])
}

// readAnswer reads "deny", "contested 11 36", "allow, egress allow, ingress deny".
func (p *Packet) readAnswer(text string) error {
	for i, part := range strings.Split(text, ",") {
		words := strings.Fields(part)
		target := &p.Want
		if i > 0 && len(words) == 2 && words[0] == "egress" {
			target, words = &p.Egress, words[1:]
		} else if i > 0 && len(words) == 2 && words[0] == "ingress" {
			target, words = &p.Ingress, words[1:]
		}
		if len(words) == 0 {
			return fmt.Errorf("no verdict")
		}
		switch words[0] {
		case "allow":
			*target = flow.Allow
		case "deny":
			*target = flow.Deny
		case "contested":
			*target = flow.Contested
		default:
			return fmt.Errorf("verdict %q: use allow, deny or contested", words[0])
		}
		for _, w := range words[1:] {
			n, err := strconv.Atoi(w)
			if err != nil {
				return err
			}
			p.Cases = append(p.Cases, n)
		}
	}
	return nil
}
