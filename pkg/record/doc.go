// SPDX-License-Identifier: Apache-2.0

// Package record keeps a session in a file, and plays it again.
//
//	tee, err := record.Create("shop.ebpol", live, record.Options{Source: "cluster prod"})
//	for f := range tee.Frames() { … }       // as from live; a Source
//
//	p, err := record.Open("shop.ebpol", record.Play{Speed: 1})
//	for f := range p.Frames() { … }         // a Source, on any platform
//
// # The file
//
// Eight bytes "EBPOLREC", a length (varint), a wire.RecordHeader; then zstd
// frames, one after another, whose content is the session's wire.Frames, each
// with its length before it. What was seen within the last second is on disk,
// so a killed plugin leaves a file that can be read. Each minute a new zstd
// frame starts with all that is known by then, after a skippable frame
// "EBPOLKEY" and the time (Unix nanoseconds, 8 bytes, big endian): a reader
// can start at any of them.
//
// A file may come from anyone: what is read is bounded in memory whatever it
// holds.
package record

import "errors"

const (
	magic    = "EBPOLREC"
	keyMagic = "EBPOLKEY"
	version  = 1

	maxHeader = 64 << 10 // bytes
)

// ErrNotARecording says that a file was not written by this program.
var ErrNotARecording = errors.New("not a recording")
