// Package wire is what plugin and probe say to each other: length-delimited
// protobuf frames over any byte stream, and the same frames in a recording.
package wire
