// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ebpol/kubectl-ebpol/probe/serve"
)

// check prints what the node can do. It ends with 1 if that isn't enough to
// observe.
func (p *program) check(args []string) error {
	flags := p.flags("check")
	output := flags.String("o", "", "json, or nothing for lines")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *output != "" && *output != "json" {
		return &coded{exitUsage, fmt.Errorf("output format %q: use json, or leave -o out", *output)}
	}
	facts, enough, err := p.features()
	if err != nil {
		return err
	}
	if *output == "json" {
		err = json.NewEncoder(p.out).Encode(asJSON(facts, enough))
	} else {
		err = p.lines(facts)
	}
	if err == nil && !enough {
		err = &coded{exitError, errors.New("this node can't be observed: see what is missing above")}
	}
	return err
}

func (p *program) lines(facts serve.Facts) error {
	_, err := fmt.Fprintf(p.out, "kernel %s\n", facts.Kernel)
	for _, f := range facts.Features {
		word := "yes"
		if !f.GetPresent() {
			word = "no"
		}
		if _, err := fmt.Fprintf(p.out, "%-3s  %-18s %s\n", word, f.GetName(), f.GetWhy()); err != nil {
			return err
		}
	}
	return err
}

type checkFeature struct {
	Name    string `json:"name"`
	Present bool   `json:"present"`
	Why     string `json:"why,omitempty"`
}

type checkReport struct {
	Kernel   string         `json:"kernel"`
	Enough   bool           `json:"enough"`
	Features []checkFeature `json:"features"`
}

func asJSON(facts serve.Facts, enough bool) checkReport {
	r := checkReport{Kernel: facts.Kernel, Enough: enough, Features: []checkFeature{}}
	for _, f := range facts.Features {
		r.Features = append(r.Features, checkFeature{f.GetName(), f.GetPresent(), f.GetWhy()})
	}
	return r
}
